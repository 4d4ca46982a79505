#include "cli/shared/archive_slots.h"

#include <algorithm>

#include "archive/home.h"
#include "archive/identity.h"
#include "archive/kept_slots.h"
#include "archive/listing.h"
#include "base/error.h"
#include "io/owner.h"
#include "io/posix_directory.h"
#include "relay/slots_report.h"
#include "relay/sockets.h"

namespace weir::cli {

namespace {

/// Up to the last existing segment, complete or not: precise enough to report how much is retained.
wal::Lsn end_by_names(io::Directory& archive) {
  const auto listing = archive::list_archive(archive);
  const auto identity = archive::read_identity(archive, listing);
  wal::Lsn end;
  if (!identity) return end;
  const auto& size = identity->segment_size;
  for (const auto& entry : listing.segments) {
    const auto& name = entry.name.segment;
    if (!name.fits(size)) continue;
    end = std::max(end, entry.name.partial ? name.start(size) : name.start(size) + size.bytes());
  }
  return end;
}

Error in_use(const std::string& message, const std::string& directory) {
  return Error(ErrorKind::retry, message)
      .with("directory", directory)
      .hint("Stop the client that uses the slot, or wait until it has gone.");
}

/// nullopt: no process has the slots.
std::optional<bool> drop_by_socket(const std::string& directory, const std::string& name) {
  const auto text = relay::SlotsSocket::ask(directory, "drop " + name);
  if (!text) return std::nullopt;
  constexpr std::string_view kUndefinedObject = "42704";
  constexpr std::string_view kObjectInUse = "55006";
  const auto answer = relay::parse_drop_answer(*text);
  if (answer.done) return true;
  if (answer.sqlstate == kUndefinedObject) return false;
  if (answer.sqlstate == kObjectInUse) throw in_use(answer.message, directory);
  throw Error(ErrorKind::io, "the slot could not be dropped: " + answer.message)
      .with("directory", directory)
      .hint("See the log of \"pgweir serve\".");
}

}  // namespace

std::vector<archive::ServedSlot> list_archive_slots(const std::string& directory,
                                                    std::chrono::milliseconds time) {
  const auto answer = relay::SlotsSocket::ask(directory, "list", time);
  return answer ? slots_of_report(*answer, directory) : read_archive_slots(directory);
}

std::vector<archive::ServedSlot> slots_of_report(const std::string& json, const std::string& from) {
  const auto report = relay::parse_slots_report(json);
  if (!report)
    throw Error(ErrorKind::protocol,
                "invalid response from the process that manages the archive's slots")
        .with("asked", from)
        .hint("Use the same version for both.");
  std::vector<archive::ServedSlot> slots;
  for (const auto& slot : report->slots)
    slots.push_back(
        {slot.kept, slot.temporary, slot.active, archive::retained_by(slot.kept, report->end)});
  return slots;
}

std::vector<archive::ServedSlot> read_archive_slots(const std::string& directory) {
  const auto archive = io::open_existing_directory(directory);
  const auto kept = archive::read_slots(*archive);
  if (!kept || kept->slots.empty()) return {};
  const auto end = end_by_names(*archive);
  std::vector<archive::ServedSlot> slots;
  for (const auto& slot : kept->slots)
    slots.push_back({slot, false, std::nullopt, archive::retained_by(slot, end)});
  return slots;
}

SlotRow row_of(const archive::ServedSlot& slot) {
  SlotRow row;
  row.name = slot.kept.name;
  row.type = "physical";
  row.served = slot;
  row.view.exists = true;
  row.view.active = slot.active_pid.has_value();
  if (!slot.kept.inactive_since.empty()) row.inactive_since = slot.kept.inactive_since;
  if (slot.kept.lost) {
    row.view.wal_status = "lost";
    row.view.invalidation_reason = "wal_removed";
    return row;
  }
  if (!slot.kept.restart_lsn.valid()) return row;
  row.restart_lsn = slot.kept.restart_lsn.to_string();
  row.view.wal_status = "reserved";
  row.view.retained = static_cast<std::int64_t>(slot.retained);
  return row;
}

bool drop_archive_slot(const std::string& directory, const std::string& name) {
  if (const auto done = drop_by_socket(directory, name)) return *done;
  const auto archive = io::open_existing_directory(directory);
  io::keep_owner(*archive);
  archive::require_not_a_server_directory(*archive);
  const auto lock = archive::SlotsLock::take(*archive);
  if (!lock)
    throw Error(ErrorKind::retry, "the process that manages the archive's slots does not answer")
        .with("directory", directory)
        .hint("It may have just started. Run the command again.");
  auto kept = archive::read_slots(*archive);
  if (!kept || std::erase_if(kept->slots, [&](const auto& slot) { return slot.name == name; }) == 0)
    return false;
  archive::DirectoryHome home(*archive);
  archive::keep_slots(home, *kept);
  return true;
}

}  // namespace weir::cli
