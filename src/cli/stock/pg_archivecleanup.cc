#include <fmt/format.h>
#include <getopt.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "archive/identity.h"
#include "archive/kept_slots.h"
#include "archive/listing.h"
#include "base/error.h"
#include "cli/help.h"
#include "cli/print_stderr.h"
#include "cli/stock/stand_ins.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "store/ledger/mark.h"

// Unlike `pgweir prune` this checks neither backups nor sizes: names are compared as text, as in
// the stock program, which servers call as archive_cleanup_command. The improvements: the oldest
// are removed first, the directory is flushed, so that no gap remains, and WAL that a slot of the
// relay retains, or that is still to be uploaded, is kept.

namespace weir::cli {

namespace {

constexpr int kUsageStatus = 2;
constexpr std::size_t kSegmentDigits = 24;
constexpr auto kName = kPgArchivecleanup;

bool is_hex(std::string_view text) {
  return text.find_first_not_of("0123456789ABCDEF") == std::string_view::npos;
}
bool is_segment(std::string_view name) { return name.size() == kSegmentDigits && is_hex(name); }
bool is_partial(std::string_view name) {
  return name.ends_with(".partial") && is_segment(name.substr(0, name.size() - 8));
}
/// As IsBackupHistoryFileName() in access/xlog_internal.h, which does not check the offset.
bool is_backup_history(std::string_view name) {
  return name.size() > kSegmentDigits && is_segment(name.substr(0, kSegmentDigits)) &&
         !is_hex(name.substr(kSegmentDigits, 1)) && name.ends_with(".backup");
}
/// As the argument it needs an offset, of any length, as sscanf("%08X") reads it.
bool has_offset(std::string_view name) {
  return name[kSegmentDigits] == '.' &&
         std::isxdigit(static_cast<unsigned char>(name[kSegmentDigits + 1])) != 0;
}

std::string without(std::string name, const std::string& extension) {
  if (!extension.empty() && name.size() > extension.size() && name.ends_with(extension))
    name.resize(name.size() - extension.size());
  return name;
}

constexpr const char* kHelp =
    R"(pg_archivecleanup removes old WAL files from an archive; this one is pgweir.

Usage:
  pg_archivecleanup [OPTION]... ARCHIVELOCATION OLDESTKEPTWALFILE

Options:
  -b, --clean-backup-history  remove backup history files, too
  -d, --debug                 print debug messages
  -n, --dry-run               only print the names of the files to be removed
  -V, --version               print the version, then exit
  -x, --strip-extension=EXT   strip this extension before comparing file names
  -?, --help                  print this help, then exit

As a setting of a standby:
  archive_cleanup_command = 'pg_archivecleanup [OPTION]... ARCHIVELOCATION %r'
)";

int wrong(std::string_view what) {
  print_stderr("{0}: error: {1}\n{0}: hint: Try \"{0} --help\" for more information.\n", kName,
               what);
  return kUsageStatus;
}

/// The original's message, if the system had a reason for the failure.
template <typename Action>
auto in_its_words(std::string_view what, std::string_view path, const Action& action) {
  try {
    return action();
  } catch (const Error& error) {
    if (error.system_code() == 0) throw;
    throw Error(error.kind(),
                fmt::format("{} \"{}\": {}", what, path, std::strerror(error.system_code())));
  }
}

struct Settings {
  bool backup_history = false;
  bool debug = false;
  bool dry_run = false;
  std::string extension{};
  std::string location{};
  std::string oldest{};  ///< 24 digits
};

/// The position of the first file to keep. The original supports neither slots nor a store; without
/// these, the result is the same.
std::string first_to_stay(io::Directory& directory, const Settings& settings) {
  auto first = settings.oldest.substr(wal::kTimelineDigits);
  const auto kept = archive::read_slots(directory);
  const auto mark = store::read_mark_for_removal(directory);
  if (!kept && !mark) return first;
  const auto listing = archive::list_archive(directory);
  const auto identity = archive::read_identity(directory, listing);
  if (!identity) return first;
  const auto& size = identity->segment_size;
  const auto lower = [&](std::uint64_t segno) {
    const auto position = wal::SegmentName(1, segno, size).to_string().substr(wal::kTimelineDigits);
    if (position >= first) return false;
    first = position;
    return true;
  };
  const auto slots = kept.value_or(archive::KeptSlots{}).slots;
  for (const auto& slot : slots)
    if (!slot.lost && slot.restart_lsn != wal::Lsn() && lower(size.segno(slot.restart_lsn)))
      print_stderr("{}: the replication slot \"{}\" holds back WAL from {} on\n", kName, slot.name,
                   slot.restart_lsn);
  const auto unsent = store::first_not_sent(mark, *identity, listing);
  if (unsent && lower(unsent->segno(size)))
    print_stderr(
        "{}: WAL from {} on is kept, because it has not been uploaded to {} yet; if the archive is "
        "no longer uploaded there, remove its file {}\n",
        kName, *unsent, mark->target(), store::kMarkName);
  return first;
}

int clean(const Settings& settings) {
  const auto directory = in_its_words("could not open archive location", settings.location, [&] {
    return io::open_existing_directory(settings.location);
  });
  const auto first = first_to_stay(*directory, settings);
  std::vector<std::pair<std::string, std::string>> files;  // without the timeline, name
  for (const auto& entry : directory->list()) {
    const auto name = without(entry.name, settings.extension);
    if (!is_segment(name) && !is_partial(name) &&
        !(settings.backup_history && is_backup_history(name)))
      continue;
    const auto position = name.substr(wal::kTimelineDigits);
    if (position < first) files.emplace_back(position, entry.name);
  }
  std::sort(files.begin(), files.end());
  std::string listed;
  for (const auto& file : files) {
    const auto& name = file.second;  // clang 14 captures no structured binding
    const auto path = settings.location + "/" + name;
    if (settings.dry_run) {
      listed += path + "\n";
      if (settings.debug) print_stderr("{}: file \"{}\" would be removed\n", kName, path);
      continue;
    }
    if (settings.debug) print_stderr("{}: removing file \"{}\"\n", kName, path);
    in_its_words("could not remove file", path, [&] { directory->remove(name); });
  }
  if (!settings.dry_run && !files.empty()) directory->sync();
  if (!listed.empty()) print_data(listed);
  return 0;
}

}  // namespace

int pg_archivecleanup(int count, char** words) {
  static const option kLong[] = {{"clean-backup-history", no_argument, nullptr, 'b'},
                                 {"debug", no_argument, nullptr, 'd'},
                                 {"dry-run", no_argument, nullptr, 'n'},
                                 {"strip-extension", required_argument, nullptr, 'x'},
                                 {nullptr, 0, nullptr, 0}};
  if (count > 1) {
    const std::string_view first = words[1];
    if (first == "--help" || first == "-?") return std::fputs(kHelp, stdout) < 0 ? 1 : 0;
    if (first == "--version" || first == "-V") {
      // As pg_receivewal_version(): the version of PostgreSQL whose options it has.
      fmt::print("{} (PostgreSQL) 19.0 (pgweir {})\n", kName, PGWEIR_VERSION);
      return 0;
    }
  }
  Settings settings;
  ::optind = 1;
  for (int letter = 0; (letter = ::getopt_long(count, words, "bdnx:", kLong, nullptr)) != -1;) {
    switch (letter) {
      case 'b':
        settings.backup_history = true;
        break;
      case 'd':
        settings.debug = true;
        break;
      case 'n':
        settings.dry_run = true;
        break;
      case 'x':
        settings.extension = ::optarg;
        break;
      default:
        print_stderr("{0}: hint: Try \"{0} --help\" for more information.\n", kName);
        return kUsageStatus;
    }
  }
  const std::vector<std::string> rest(words + ::optind, words + count);
  if (rest.empty()) return wrong("must specify archive location");
  if (rest.size() < 2) return wrong("must specify oldest kept WAL file");
  if (rest.size() > 2) return wrong("too many command-line arguments");
  if (settings.dry_run)  // since 19
    print_stderr("{0}: executing in dry-run mode\n{0}: detail: No files will be removed.\n", kName);
  settings.location = rest[0];
  try {
    if (io::type_of(settings.location) != io::PathType::directory) {
      print_stderr("{}: error: archive location \"{}\" does not exist\n", kName, settings.location);
      return kUsageStatus;
    }
  } catch (const Error& failure) {
    print_stderr("{}: error: {}\n", kName, failure.what());
    return kUsageStatus;
  }
  const auto oldest = without(rest[1], settings.extension);
  if (!is_segment(oldest) && !is_partial(oldest) &&
      !(is_backup_history(oldest) && has_offset(oldest)))
    return wrong("invalid file name argument");
  settings.oldest = oldest.substr(0, kSegmentDigits);
  if (settings.debug)
    print_stderr("{}: keeping WAL file \"{}/{}\" and later\n", kName, settings.location,
                 settings.oldest);
  try {
    return clean(settings);
  } catch (const Error& failure) {
    print_stderr("{}: error: {}\n", kName, failure.what());
    return 1;
  }
}

std::string_view pg_archivecleanup_help() { return kHelp; }

}  // namespace weir::cli
