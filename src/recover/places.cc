#include "recover/places.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "io/tree.h"
#include "io/user_tree.h"

namespace weir::recover {

namespace {

using io::PathType;

/// Further space for the server, and space left free for other programs.
constexpr std::uint64_t kReserve = std::uint64_t{64} << 20;
constexpr std::uint64_t kMostWal = std::uint64_t{1} << 30;  ///< that replay keeps in pg_wal

/// The directory itself, or the nearest existing one above it.
std::string nearest(std::string path) {
  while (io::type_of(path) == PathType::nothing) {
    const auto slash = path.find_last_of('/');
    path = slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
  }
  return path;
}

/// Without links, as far as the path exists.
std::string real(const std::string& path) {
  const auto there = nearest(path);
  const auto rest = path.substr(there == "/" ? 0 : there.size());
  const auto base = io::real_path(there);
  return (base == "/" ? "" : base) + rest;
}

bool is_within(const std::string& path, const std::string& directory) {
  return path == directory || path.starts_with(directory == "/" ? directory : directory + "/");
}

class Look {
 public:
  Look(const Choice& choice, const std::vector<Place>& places, const Options& options,
       const std::set<std::string>& own)
      : choice_(choice), places_(places), options_(options), own_(own) {}

  void run() {
    require_free(options_.into, "the directory for the server",
                 "Specify another one with --into. Existing files are never removed.");
    for (const auto& place : places_)
      require_free(place.path, fmt::format("the location of tablespace {}", place.of.oid),
                   fmt::format("Specify another location: --tablespace-mapping={}",
                               shell_word(escaped(place.of.location.empty() ? place.of.oid
                                                                            : place.of.location) +
                                          "=/NEW/PLACE")));
    require_apart();
    for (const auto& made : choice_.promise.tablespaces) require_made(made);
    require_space();
  }

 private:
  [[nodiscard]] bool is_own(const std::string& path) const { return own_.count(path) != 0; }

  void require_free(const std::string& path, const std::string& what, const std::string& hint) {
    const auto type = io::type_of(path);
    const bool there = type != PathType::nothing;
    if (there && type != PathType::directory)
      throw Error(ErrorKind::conflict, what + " is not a directory").with("path", path).hint(hint);
    if (there && !is_own(path) && !io::is_empty_directory(path))
      throw Error(ErrorKind::conflict, what + " is not empty")
          .with("path", path)
          .hint(own_.empty()
                    ? hint
                    : "Nothing shows that the interrupted call created these files: a file system "
                      "may have been mounted since then. They are not removed. If they are not "
                      "needed, empty the directory, and run the same command again. If they are, "
                      "use another --into, too. " +
                          hint);
    const auto above = nearest(path);
    if (!io::may_write_into(above))
      throw Error(ErrorKind::conflict, what + " is not writable")
          .with("path", path)
          .with("user", io::this_user().name)
          .hint(there ? "It must be owned by the user that the server runs as."
                      : fmt::format("Create it for that user: install -d -m 700 -o {} {}",
                                    io::this_user().name, shell_word(path)));
  }

  void require_apart() {
    std::vector<std::pair<std::string, std::string>> taken;  // path, what it is
    for (const auto& directory : options_.archive_directories)
      taken.emplace_back(real(directory), "the archive");
    const auto take = [&](const recovery::Backup& backup) {
      taken.emplace_back(real(backup.path), "the backup");
      if (!backup.tars.empty()) return;
      for (const auto& of : recovery::tablespaces_of(backup)) {
        taken.emplace_back(io::real_path(backup.path + "/pg_tblspc/" + of.oid), "the backup");
        // `pgweir backup --keep` removes NAME with all that is in it, not only NAME/data.
        constexpr std::string_view kData = "/data";
        if (const auto& path = taken.back().first;
            !of.location.starts_with('/') && backup.path.ends_with(kData)) {
          const auto whole = real(backup.path.substr(0, backup.path.size() - kData.size()));
          if (is_within(path, whole)) taken.emplace_back(whole, "the backup");
        }
      }
    };
    take(choice_.backup);
    for (const auto& each : choice_.upon) take(each);
    std::vector<std::string> wanted = {options_.into};
    for (const auto& place : places_) wanted.push_back(place.path);
    for (const auto& each : wanted) {
      const auto path = real(each);
      for (const auto& [other, what] : taken)
        if (is_within(path, other) || is_within(other, path))
          throw Error(ErrorKind::conflict, "a directory is inside another one")
              .with("directory", each)
              .with(what, other)
              .hint(
                  "Use separate directories for the archive, the backup, the server and each "
                  "tablespace.");
      taken.emplace_back(path, "another place of this recovery");
    }
  }

  /// The replay of a record that creates a tablespace uses its original location, and first removes
  /// existing files there: no mapping helps (tblspc_redo() in commands/tablespace.c).
  void require_made(const recovery::Promise::Tablespace& made) {
    if (io::type_of(made.location) == PathType::directory &&
        (is_own(made.location) || io::is_empty_directory(made.location)) &&
        io::may_write_into(made.location))
      return;
    throw Error(ErrorKind::conflict, fmt::format("the WAL creates a tablespace at {}, but its "
                                                 "location is not an empty, writable directory",
                                                 made.at))
        .with("path", made.location)
        .hint(
            "The server creates it at exactly this location. Create an empty directory there for "
            "the server's user, recover to a target before that LSN, or use a backup that was "
            "started after it.");
  }

  void require_space() {
    std::map<std::uint64_t, std::pair<std::uint64_t, std::string>> needs;  // by file system
    const auto need = [&](const std::string& path, std::uint64_t bytes) {
      const auto there = nearest(path);
      auto& [sum, where] = needs[io::file_system_of(there)];
      sum += bytes;
      where = there;
    };
    const auto place_of = [&](const std::string& oid) {
      return std::find_if(places_.begin(), places_.end(),
                          [&](const Place& place) { return place.of.oid == oid; });
    };
    // Adds what the tablespaces need; returns what remains for the data directory.
    const auto need_places = [&](const recovery::Backup& backup,
                                 const std::vector<recovery::Tablespace>& tablespaces) {
      auto data = backup.bytes;
      for (const auto& of : tablespaces) {
        data -= std::min(data, of.bytes);  // counted with the whole
        if (const auto place = place_of(of.oid); place != places_.end())
          need(place->path, of.bytes);
      }
      return data;
    };
    std::vector<recovery::Tablespace> own;
    for (const auto& place : places_) own.push_back(place.of);
    auto data = need_places(choice_.backup, own);
    if (!choice_.upon.empty() && has_relative_links(places_)) data *= 2;  // it is copied first
    // What is combined has at most the blocks of all of them.
    for (const auto& each : choice_.upon) data += need_places(each, recovery::tablespaces_of(each));
    need(options_.into, data + std::min(2 * choice_.promise.bytes, kMostWal) + kReserve);
    // The files of an earlier call are removed first.
    std::map<std::uint64_t, std::uint64_t> returned;
    const auto returns = [&](const std::string& path) {
      if (is_own(path) && io::type_of(path) == PathType::directory)
        returned[io::file_system_of(path)] += io::size_of_tree(path);
    };
    returns(options_.into);
    for (const auto& place : places_) returns(place.path);
    for (const auto& [system, needed] : needs) {
      const auto free = io::free_bytes(needed.second) + returned[system];
      if (needed.first <= free || shares_blocks(needed.second)) continue;
      throw Error(ErrorKind::disk_full, "there is too little space")
          .with("place", needed.second)
          .with("free", format_size(free))
          .with("needed about", format_size(needed.first))
          .hint("Free space there, or use another file system.");
    }
  }

  /// A copy within a file system that can share blocks takes no space of its own.
  bool shares_blocks(const std::string& place) {
    const auto file = choice_.backup.path + "/PG_VERSION";
    return choice_.backup.tars.empty() && choice_.upon.empty() && !options_.dry_run &&
           io::file_system_of(file) == io::file_system_of(place) &&
           io::can_share_blocks(file, place + "/.pgweir-probe");
  }

  const Choice& choice_;
  const std::vector<Place>& places_;
  const Options& options_;
  const std::set<std::string>& own_;
};

}  // namespace

std::vector<Place> places_of(const Choice& choice, const Options& options) {
  std::vector<Place> places;
  auto unused = options.mapping;
  for (const auto& of : recovery::tablespaces_of(choice.backup)) {
    auto mapped = options.mapping.find(of.location);
    // If its location is unknown it is named by its OID.
    if (mapped == options.mapping.end() && of.location.empty())
      mapped = options.mapping.find(of.oid);
    if (mapped != options.mapping.end()) {
      unused.erase(mapped->first);
      places.push_back({of, mapped->second});
      continue;
    }
    if (of.location.empty())
      throw Error(ErrorKind::usage, "the location of a tablespace is not in the backup")
          .with("oid", of.oid)
          .hint(fmt::format("Specify a location: --tablespace-mapping='{}=/NEW/PLACE'", of.oid));
    // A relative link is one of the backup itself.
    places.push_back({of, of.location.starts_with('/')
                              ? of.location
                              : choice.backup.path + "/pg_tblspc/" + of.location});
  }
  // One of several backups may have it.
  if (!unused.empty() && options.backups.size() == 1)
    throw Error(ErrorKind::usage, "the backup has no such tablespace")
        .with("--tablespace-mapping", unused.begin()->first)
        .hint(
            "OLD is the location according to the backup: \"pgweir recover --dry-run\" lists "
            "them.");
  return places;
}

bool has_relative_links(const std::vector<Place>& places) {
  return std::any_of(places.begin(), places.end(), [](const Place& place) {
    return !place.of.location.empty() && !place.of.location.starts_with('/');
  });
}

std::string mark_in(const std::string& location, const std::string& id) {
  return location + "/.pgweir-recover." + id;
}

void require_places(const Choice& choice, const std::vector<Place>& places, const Options& options,
                    const std::set<std::string>& own) {
  Look(choice, places, options, own).run();
}

std::string escaped(const std::string& path) {
  std::string text;
  for (const char c : path) text += c == '=' ? "\\=" : std::string(1, c);
  return text;
}

std::pair<std::string, std::string> parse_mapping(const std::string& text) {
  std::string parts[2];
  std::size_t part = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\\' && at + 1 < text.size() && text[at + 1] == '=')
      parts[part] += text[++at];
    else if (text[at] == '=' && part == 0)
      part = 1;
    else
      parts[part] += text[at];
  }
  const bool right = part == 1 && !parts[0].empty() && parts[1].starts_with('/');
  if (!right)
    throw Error(ErrorKind::usage, "").hint("The format is OLD=NEW, where NEW is an absolute path.");
  while (parts[1].size() > 1 && parts[1].ends_with('/')) parts[1].pop_back();
  return {parts[0], parts[1]};
}

}  // namespace weir::recover
