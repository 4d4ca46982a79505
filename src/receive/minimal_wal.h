#pragma once

#include <functional>
#include <span>
#include <vector>

#include "archive/losses.h"
#include "io/directory.h"
#include "wal/record_verifier.h"

namespace weir::receive {

/// Notices where the server changes to wal_level=minimal and back, in the records that stream by or
/// that are read again at the archive's end, and records each such time as a loss
/// (archive/losses.h): no recovery passes it, although its WAL is archived. Only the verifier of a
/// stream knows records, and a record may begin in one segment and end in the next, or be read
/// again by a later stream: so each is known by its start.
///
/// Belongs to the thread that reads at the moment, as the verifier does; to the session's while no
/// stream runs.
class MinimalWal final : public wal::RecordObserver {
 public:
  /// What the loss's record says beside the range.
  struct Stream {
    wal::TimelineId timeline = 0;
    wal::Lsn start;
    std::uint64_t system_identifier = 0;
    wal::SegmentSize segment_size{};
    std::string server{};
  };
  /// A stream begins. Forgets what an earlier one noticed behind `stream.start` and did not record.
  void begin(Stream stream, std::vector<archive::Loss> recorded);

  bool wants(const wal::RecordHeader& header) override;
  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override;

  /// Something was noticed and is not durable. It must be before the end of its record is written:
  /// a start streams from the oldest unfinished segment, and would not see the record again once
  /// its segment is finished.
  [[nodiscard]] bool must_record() const { return !changes_.empty(); }
  /// Records it. `found` is the time; `tell` is called for each new or longer loss. May be called
  /// again if it throws, as record_loss() does.
  void record(io::Directory& directory, const std::string& found,
              const std::function<void(const archive::Loss&)>& tell);

 private:
  struct Change {
    wal::Lsn start;
    wal::Lsn end;
    bool minimal;
  };

  Stream stream_;
  std::vector<archive::Loss> losses_;  ///< of this kind, by begin
  std::vector<Change> changes_;        ///< by start
};

}  // namespace weir::receive
