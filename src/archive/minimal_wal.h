#pragma once

#include <functional>
#include <span>
#include <vector>

#include "archive/losses.h"
#include "io/directory.h"
#include "wal/record_verifier.h"

namespace weir::archive {

/// Detects in the records that stream, or are read again at the archive's end, that the server
/// changes to wal_level=minimal and back, and records each such period as a loss
/// (archive/losses.h): recovery cannot pass it, although its WAL is archived. Only a stream's
/// verifier decodes records, and a record may span segments, or be read again by a later stream: so
/// each is identified by its start.
///
/// Belongs to the thread that currently reads, like the verifier; to the session's while no stream
/// runs.
class MinimalWal final : public wal::RecordObserver {
 public:
  /// Data of the loss record in addition to the range.
  struct Stream {
    wal::TimelineId timeline = 0;
    wal::Lsn start;
    /// The server's position when it was queried; 0/0 if unknown. It streams, so wal_level was not
    /// minimal there.
    wal::Lsn server_end{};
    std::uint64_t system_identifier = 0;
    wal::SegmentSize segment_size{};
    std::string server{};
  };
  /// A stream starts. Forgets changes after `stream.start` that an earlier stream found and did not
  /// record.
  void begin(Stream stream, std::vector<Loss> recorded);

  bool wants(const wal::RecordHeader& header) override;
  [[nodiscard]] bool needs_xlog_only() const override { return true; }
  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override;

  /// The server was writing with wal_level=minimal at the current position.
  [[nodiscard]] bool is_minimal() const;

  /// A change was found and is not recorded durably. It must be recorded before the end of its
  /// record is written: a restart streams from the oldest partial segment, and would not see the
  /// record again once its segment is complete. The same applies if everything up to `read_to` was
  /// read and therefore a range that a hole cut off has ended.
  [[nodiscard]] bool must_record(wal::Lsn read_to = {}) const {
    return !changes_.empty() || (cut_off_ && read_to >= stream_.server_end);
  }
  /// Records it, if must_record(read_to). `found` is the time; `tell` is called for each new or
  /// extended loss. Can be called again if it throws, as record_loss() does.
  void record(io::Directory& directory, const std::string& found,
              const std::function<void(const Loss&)>& tell, wal::Lsn read_to = {});

 private:
  struct Change {
    wal::Lsn start;
    wal::Lsn end;
    bool minimal;
  };

  [[nodiscard]] const Loss* hole_behind(const Loss& loss, wal::Lsn at) const;

  Stream stream_;
  std::vector<Loss> losses_;  ///< of this kind, by start
  std::vector<Loss> holes_;
  /// A range extends up to a hole before the stream: the record that ended it may be in the hole.
  bool cut_off_ = false;
  std::vector<Change> changes_;  ///< by start
};

}  // namespace weir::archive
