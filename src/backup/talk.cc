#include "backup/talk.h"

#include "base/text.h"

namespace weir::backup {

namespace {

bool has(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

}  // namespace

Talk::Kind Talk::take(std::string_view line) {
  const auto text = trimmed(line);
  constexpr std::uint64_t kKilobyte = 1024;
  // "12345/67890 kB (18%), 0/1 tablespace", "12345 kB (100%), 1/1 tablespace"
  if (has(text, " kB (") && has(text, " tablespace")) {
    const auto numbers = text.substr(0, text.find(' '));
    const auto slash = numbers.find('/');
    const auto done = parse_number<std::uint64_t>(numbers.substr(0, slash));
    if (done) done_ = *done * kKilobyte;
    if (slash != std::string_view::npos)
      total_ = parse_number<std::uint64_t>(numbers.substr(slash + 1)).value_or(0) * kKilobyte;
    if (done) return Kind::progress;
  }
  // Untrue here: the archive gets the WAL from the receiver.
  if (has(text, "WAL archiving is not enabled")) return Kind::swallowed;
  if (has(text, "waiting for required WAL segments to be archived") ||
      has(text, "waiting for all required WAL segments to be archived"))
    return Kind::waits;
  constexpr std::size_t kLines = 6;
  lines_.emplace_back(text);
  if (lines_.size() > kLines) lines_.pop_front();
  full_ = full_ || has(text, "No space left on device") || has(text, "Disk quota exceeded");
  // InitProcess() in storage/lmgr/proc.c, CheckMyDatabase() and InitializeSessionUserId() in
  // utils/init.
  none_free_ = none_free_ || has(text, "requested standby connections exceeds") ||
               has(text, "too many connections for role") ||
               has(text, "connection slots are reserved") || has(text, "too many clients already");
  damaged_ = damaged_ || has(text, "checksum error occurred");
  occupied_ = occupied_ || has(text, "exists but is not empty");
  if (page_.empty() && has(text, "checksum verification failed")) page_ = text;
  return Kind::other;
}

std::string Talk::last_words() const {
  std::string text;
  for (const auto& line : lines_) text += (text.empty() ? "" : " ") + line;
  return text;
}

Error Talk::failure() const {
  if (full_)
    return Error(ErrorKind::disk_full, "the disk of the backups is full")
        .with("pg_basebackup", last_words())
        .hint(
            "No older backup is removed automatically. Add space, remove a backup that is no "
            "longer needed, or keep fewer (--keep, --keep-backups).");
  if (damaged_)
    return Error(ErrorKind::damage, "the server has pages with a wrong checksum")
        .with("first", page_.empty() ? last_words() : page_)
        .hint(
            "The older backups are kept: they may have these pages intact. First check the "
            "server's disk and its log.");
  // The directories that it was given are new.
  if (occupied_)
    return Error(ErrorKind::retry, "a tablespace was created while the backup began")
        .with("pg_basebackup", last_words())
        .hint("This backup does not count. Run the command again.");
  return Error(ErrorKind::retry, "pg_basebackup failed")
      .with("it said", lines_.empty() ? std::string("nothing") : last_words())
      .hint("This backup does not count. Run the command again.");
}

}  // namespace weir::backup
