#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "archive/wal_reader.h"
#include "restore/archives.h"
#include "restore/options.h"
#include "wal/lsn.h"

namespace weir::restore {

/// Reads the WAL of one history, by position, out of all archives: each segment from the first
/// archive that has it complete, and if none has, from the partial file that is valid the farthest,
/// which may be an ancestor's up to the switchpoint. With one archive, this is archive::WalReader.
/// An archive that does not respond is skipped. If no archive delivers a segment, and a read of one
/// failed, State::damaged has that Error{io, retry}. Does not own the archives. One thread.
class UnionReader final : public archive::WalSource {
 public:
  /// Files of archives that are known not to be valid, and are not read; may grow meanwhile.
  using Unsound = std::set<std::pair<std::size_t, std::string>>;
  struct Options {
    wal::SegmentSize segment_size{};
    wal::TimelineId timeline = 1;
    std::optional<wal::TimelineHistory> history = std::nullopt;
    bool unfinished = false;
    AskReceiver durable_end = nullptr;
    const Unsound* unsound = nullptr;  ///< not owned
  };
  UnionReader(Archives& archives, const Options& options);

  [[nodiscard]] Read read(wal::Lsn at, std::span<std::byte> into) override;
  [[nodiscard]] std::optional<Padded> padded(wal::Lsn at) override;
  [[nodiscard]] bool was_uploaded(wal::Lsn at) override {
    return archives_.was_uploaded(segment_at(at));
  }

  /// The files have changed: none of them is known to be damaged any more.
  void forget() { open_readers(); }

  [[nodiscard]] wal::SegmentName segment_at(wal::Lsn at) const {
    return finished_.front()->segment_at(at);
  }
  /// That was read last; nullopt before the first one.
  [[nodiscard]] std::optional<Copy> copy() const;

 private:
  using Readers = std::vector<std::unique_ptr<archive::WalReader>>;
  void open_readers();
  void leave_out_unsound();
  [[nodiscard]] bool has_unsound(std::size_t archive, wal::SegmentName segment) const;
  std::optional<Read> read_from(archive::WalReader& reader, std::size_t archive, wal::Lsn at,
                                std::span<std::byte> into);
  [[nodiscard]] std::optional<std::size_t> longest(wal::SegmentName segment);
  [[nodiscard]] bool begins_a_timeline(wal::SegmentName segment) const;

  Archives& archives_;
  const Options options_;
  std::size_t unsound_ = 0;  ///< number of unsound files that are left out
  /// For each archive: these, and padded segments that a partial file continues.
  std::vector<std::set<std::string>> left_out_;
  Readers finished_;    ///< for each archive one
  Readers unfinished_;  ///< likewise, for both; empty unless needed
  std::map<wal::SegmentName, std::optional<std::size_t>> longest_;
  archive::WalReader* last_ = nullptr;
  std::size_t last_archive_ = 0;
  std::optional<Read> failure_;  ///< the first of this call
};

/// True if an archive has a complete file of the segment that is not one of these.
[[nodiscard]] bool other_copy_exists(Archives& archives, wal::SegmentName segment,
                                     const UnionReader::Unsound& unsound);

}  // namespace weir::restore
