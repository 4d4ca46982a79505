#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "archive/durable_end.h"
#include "archive/segment_bytes.h"
#include "archive/unfinished_files.h"
#include "base/error.h"
#include "io/shelf.h"
#include "wal/lsn.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::archive {

/// WAL that is read by position.
class WalSource {
 public:
  virtual ~WalSource() = default;
  WalSource() = default;
  WalSource(const WalSource&) = delete;
  WalSource& operator=(const WalSource&) = delete;

  enum class State {
    bytes,    ///< `count` of them, one at least
    end,      ///< a partial segment ends here, as far as it is durable; more may follow
    gone,     ///< there is no file of this segment, or no more
    damaged,  ///< `error` says what and where; of several archives, also a read error
  };
  struct Read {
    State state = State::gone;
    std::size_t count = 0;
    std::optional<Error> error = std::nullopt;
  };
  /// The bytes at `at`: as many as one read returns, up to `into.size()`, which is not 0.
  /// They are not checked but by checksums of files. Throws Error{io}.
  [[nodiscard]] virtual Read read(wal::Lsn at, std::span<std::byte> into) = 0;

  /// A partial segment that was published under its final name, with zeros after its last record
  /// (published_open.h).
  struct Padded {
    wal::Lsn end;            ///< of its last complete record
    bool continues = false;  ///< a partial file has more WAL, and is read from now on
  };
  /// The complete segment with this byte, if it is a padded one. Throws Error{io, retry}.
  [[nodiscard]] virtual std::optional<Padded> padded(wal::Lsn /*at*/) { return std::nullopt; }
  /// True if the segment with this byte was uploaded to an object store, which is not read here.
  /// Throws Error{io, retry}.
  [[nodiscard]] virtual bool was_uploaded(wal::Lsn /*at*/) { return false; }
};

/// Reads the WAL of one history out of an archive, by position, regardless of its segments' formats
/// and of changes meanwhile: each segment from the timeline that a recovery along the
/// history takes it from (timeline_of_segment()), its finished forms before the unfinished ones,
/// and another form where one is damaged. If there are several unfinished files, the longest valid
/// one is read, as "restore --partial" does; ancestors' files count for a timeline's first segment
/// (unfinished_files()). Read in order, each file is read once (several unfinished ones once more);
/// a place in the middle is entered where its form allows. Does not own the shelf. One thread.
class WalReader final : public WalSource {
 public:
  struct Options {
    wal::SegmentSize segment_size{};
    wal::TimelineId timeline = 1;
    /// History of `timeline`; nullopt: not known, then each segment is taken from the timeline
    /// itself.
    std::optional<wal::TimelineHistory> history = std::nullopt;
    bool unfinished = false;  ///< read .partial files, too, where there is nothing else
    /// And an ancestor's file also if there is no file of the segment itself.
    bool ancestors_alone = false;
    /// If set, a raw .partial file that is being written is read up to this position only; unset:
    /// up to the end of the file.
    AskDurableEnd durable_end = nullptr;
    /// Names of files that are never read; may grow meanwhile.
    const std::set<std::string>* left_out = nullptr;
  };
  WalReader(io::Shelf& archive, Options options)
      : archive_(archive), options_(std::move(options)) {}

  [[nodiscard]] Read read(wal::Lsn at, std::span<std::byte> into) override;

  /// The name of the segment with that byte, by the history.
  [[nodiscard]] wal::SegmentName segment_at(wal::Lsn at) const;
  /// The file that was read last; nullopt before the first one.
  [[nodiscard]] std::optional<SegmentFileName> file() const;
  /// What the unfinished file of the segment with that byte holds that read() would read; nullopt:
  /// there is none. Throws Error{io}.
  [[nodiscard]] std::optional<UnfinishedEnd> unfinished_end(wal::Lsn at) const;

 private:
  [[nodiscard]] const wal::TimelineHistory* history() const {
    return options_.history ? &*options_.history : nullptr;
  }
  [[nodiscard]] bool is_left_out(const SegmentFileName& name) const;
  [[nodiscard]] std::vector<UnfinishedFile> unfinished_of(wal::SegmentName segment) const;
  void change_to(wal::SegmentName segment);
  bool open();
  bool try_form(const SegmentFileName& name);
  bool open_unfinished();
  std::optional<Read> read_open(std::uint64_t offset, std::span<std::byte> into);
  [[nodiscard]] bool finished_meanwhile();

  io::Shelf& archive_;
  const Options options_;
  std::optional<wal::SegmentName> segment_;  ///< that the fields below are about
  std::unique_ptr<SegmentBytes> bytes_;
  std::uint64_t limit_ = 0;      ///< bytes of it that count
  bool one_of_several_ = false;  ///< another one may reach farther by now
  bool choose_again_ = false;
  std::set<std::string> damaged_;  ///< its files
  std::optional<Error> damage_;    ///< of the first of them
};

}  // namespace weir::archive
