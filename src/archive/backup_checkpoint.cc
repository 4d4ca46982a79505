#include "archive/backup_checkpoint.h"

#include <fmt/format.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "archive/forms.h"
#include "archive/wal_reader.h"
#include "base/error.h"
#include "wal/record_verifier.h"
#include "wal/records.h"

namespace weir::archive {

namespace {

constexpr std::size_t kRead = std::size_t{128} << 10;  ///< bytes at once

/// Waits for the first record at or after the position.
class CheckpointWatch final : public wal::RecordObserver {
 public:
  explicit CheckpointWatch(wal::Lsn place) : place_(place) {}

  bool wants(const wal::RecordHeader& header) override {
    return !decided && wal::is_checkpoint(header);
  }
  void on_record(wal::Lsn start, wal::Lsn end, const wal::RecordHeader& header,
                 std::span<const std::byte> body) override {
    if (decided || end <= place_) return;
    decided = true;
    begins_there = start == place_;
    if (begins_there && wal::is_checkpoint(header)) redo = wal::redo_position(body);
  }

  bool decided = false;
  bool begins_there = false;
  std::optional<wal::Lsn> redo;

 private:
  const wal::Lsn place_;
};

}  // namespace

CheckpointThere require_checkpoint(io::Shelf& directory, const BackupPoint& backup,
                                   wal::SegmentSize segment_size) {
  if (!backup.checkpoint) return CheckpointThere::yes;
  const auto place = *backup.checkpoint;
  const auto first = segment_size.segno(place);
  CheckpointWatch watch(place);
  wal::RecordVerifier::Options options;
  options.segment_size = segment_size;
  options.timeline = backup.timeline;
  options.observer = &watch;
  wal::RecordVerifier verifier(options, segment_size.start(first));
  WalReader reader(directory,
                   {.segment_size = segment_size, .timeline = backup.timeline, .unfinished = true});
  std::string name;
  std::vector<std::byte> buffer(kRead);
  // A partial segment may be written only up to here.
  const auto broken_off = [&] {
    return find_finished(directory, reader.segment_at(verifier.position()))
               ? CheckpointThere::damaged
               : CheckpointThere::not_yet;
  };
  // The record may continue in the next segments.
  while (!watch.decided) {
    const auto read = reader.read(verifier.position(), buffer);
    if (read.state == WalReader::State::damaged) return broken_off();
    if (read.state != WalReader::State::bytes) return CheckpointThere::not_yet;
    if (name.empty()) name = reader.file()->to_string();
    if (verifier.feed(std::span(buffer).first(read.count)) && !watch.decided) return broken_off();
    if (verifier.unchecked()) return CheckpointThere::yes;
  }
  if (watch.begins_there && watch.redo == backup.start) return CheckpointThere::yes;
  throw Error(ErrorKind::conflict, "the archive has different WAL at the backup's checkpoint")
      .with("backup", backup.file)
      .with("its checkpoint", place)
      .with("with the start", backup.start)
      .with("archive", name)
      .with("found", watch.redo ? fmt::format("a checkpoint with the start {}", *watch.redo)
                     : watch.begins_there ? std::string("a record other than a checkpoint")
                                          : std::string("no record begins there"))
      .hint(
          "The backup belongs to another cluster, or to a server that diverged from this archive "
          "(split brain, a copy that was reset). Nothing was removed. Specify the archive of the "
          "backup's own server with -D.");
}

}  // namespace weir::archive
