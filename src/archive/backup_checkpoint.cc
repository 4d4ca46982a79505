#include "archive/backup_checkpoint.h"

#include <fmt/format.h>

#include <cstring>
#include <optional>
#include <span>
#include <string>

#include "archive/content.h"
#include "archive/listing.h"
#include "base/error.h"
#include "wal/record_verifier.h"

namespace weir::archive {

namespace {

/// The redo position of a checkpoint: the first field of its data (struct CheckPoint in
/// catalog/pg_control.h), which is all that the record has.
std::optional<wal::Lsn> redo_of(const wal::RecordHeader& header, std::span<const std::byte> body) {
  constexpr std::uint8_t kXlog = 0;       // RM_XLOG_ID
  constexpr std::uint8_t kShutdown = 0;   // XLOG_CHECKPOINT_SHUTDOWN
  constexpr std::uint8_t kOnline = 0x10;  // XLOG_CHECKPOINT_ONLINE
  constexpr std::byte kDataShort{255};    // XLR_BLOCK_ID_DATA_SHORT, and one byte of length
  const auto what = header.info & 0xF0;
  std::uint64_t redo = 0;
  if (header.resource_manager != kXlog || (what != kShutdown && what != kOnline) ||
      body.size() < 2 + sizeof(redo) || body[0] != kDataShort)
    return std::nullopt;
  std::memcpy(&redo, body.data() + 2, sizeof(redo));
  return wal::Lsn(redo);
}

/// Waits for the first record at the place or behind it.
class CheckpointWatch final : public wal::RecordObserver {
 public:
  explicit CheckpointWatch(wal::Lsn place) : place_(place) {}

  bool wants(const wal::RecordHeader& header) override {
    return !decided && header.resource_manager == 0;
  }
  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    if (decided || end <= place_) return;
    decided = true;
    begins_there = start == place_;
    if (begins_there) redo = redo_of(header, body);
  }

  bool decided = false;
  bool begins_there = false;
  std::optional<wal::Lsn> redo;

 private:
  const wal::Lsn place_;
};

}  // namespace

void require_checkpoint(io::Directory& directory, const BackupPoint& backup,
                        wal::SegmentSize segment_size) {
  using codec::Method;
  if (!backup.checkpoint) return;
  const auto place = *backup.checkpoint;
  const auto first = segment_size.segno(place);
  CheckpointWatch watch(place);
  wal::RecordVerifier::Options options;
  options.segment_size = segment_size;
  options.timeline = backup.timeline;
  options.observer = &watch;
  wal::RecordVerifier verifier(options, segment_size.start(first));
  std::string name;
  // The record may go on in the next segment.
  for (auto segno = first; segno <= first + 1 && !watch.decided; ++segno) {
    bool read = false;
    for (const auto partial : {false, true})
      for (const auto method : {Method::none, Method::gzip, Method::lz4, Method::zstd}) {
        if (read) continue;
        const SegmentFileName each{wal::SegmentName(backup.timeline, segno, segment_size), method,
                                   partial};
        const auto file = directory.open_for_reading(each.to_string());
        if (!file) continue;
        read = true;
        if (segno == first) name = each.to_string();
        try {
          const auto path = directory.path() + "/" + each.to_string();
          const bool all = read_content(
              *file, method, path, [&](auto wal) { return !verifier.feed(wal) && !watch.decided; });
          if (!all && !watch.decided) return;  // damaged, or written only so far
        } catch (const Error& error) {
          if (error.kind() != ErrorKind::damage) throw;
          if (!watch.decided) return;
        }
      }
    if (!read || verifier.position() != segment_size.start(segno + 1)) break;
  }
  if (!watch.decided || (watch.begins_there && watch.redo == backup.start)) return;
  throw Error(ErrorKind::conflict,
              "the archive has other WAL where the backup's checkpoint should be")
      .with("backup", backup.file)
      .with("its checkpoint", place)
      .with("with the start", backup.start)
      .with("archive", name)
      .with("found", watch.redo ? fmt::format("a checkpoint with the start {}", *watch.redo)
                     : watch.begins_there ? std::string("a record that is no checkpoint")
                                          : std::string("no record begins there"))
      .hint(
          "The backup is of another cluster, or of a server that went another way from here "
          "(split brain, a copy that was set back). Nothing was removed. Give the archive of the "
          "backup's own server with -D.");
}

}  // namespace weir::archive
