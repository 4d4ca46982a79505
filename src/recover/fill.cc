#include "recover/fill.h"

#include <fmt/format.h>

#include <algorithm>

#include "archive/listing.h"
#include "base/error.h"
#include "base/text.h"
#include "base/units.h"
#include "io/small_file.h"
#include "io/tree.h"
#include "io/user_tree.h"
#include "recover/own_settings.h"
#include "recovery/backup.h"
#include "wal/server_version.h"

namespace weir::recover {

namespace {

constexpr std::uint64_t kLargestSettings = std::uint64_t{16} << 20;
constexpr const char* kAuto = "/postgresql.auto.conf";
constexpr const char* kControlInWork = ".pgweir-recover/global/pg_control";
constexpr unsigned kOwnFile = 0600;

/// A tool's output, on one line.
std::string on_one_line(const std::string& output) {
  std::string text(trimmed(output));
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

std::string read_settings(const std::string& file) {
  return io::type_of(file) == io::PathType::file ? io::read_small_file(file, kLargestSettings)
                                                 : std::string();
}

/// The effective settings of the backup's server: `postgres -C NAME`, which does not require
/// pg_control. During its lifetime, postgresql.auto.conf has its original content without any
/// target.
class FromFiles final : public Effective {
 public:
  FromFiles(const recovery::Programs& programs, const Options& options)
      : programs_(programs),
        options_(options),
        main_(read_settings(options.into + "/postgresql.conf")),
        auto_(without_own(read_settings(options.into + kAuto))) {
    auto text = auto_;
    for (const std::string name : kTargets) text += name + " = ''\n";
    io::replace_small_file(options.into + kAuto, text, kOwnFile);
    known_ = ask("data_directory").has_value();
  }

  [[nodiscard]] bool known() const override { return known_; }
  [[nodiscard]] std::optional<std::string> value(const std::string& name) override {
    if (!known_) return std::nullopt;
    if (std::find(kTargets.begin(), kTargets.end(), name) == kTargets.end()) return ask(name);
    return commented_out(main_, name) || commented_out(auto_, name) ? "set" : "";
  }
  [[nodiscard]] bool is_in_auto(const std::string& name) override {
    return commented_out(auto_, name).has_value();
  }
  /// The original content of postgresql.auto.conf.
  [[nodiscard]] const std::string& content() const { return auto_; }

 private:
  std::optional<std::string> ask(const std::string& name) {
    const auto told =
        recovery::run_tool({programs_.path("postgres"), "-C", name, "-D", options_.into},
                           recovery::environment(), options_.stop);
    if (!told.done()) return std::nullopt;
    return std::string(trimmed(told.output));
  }

  const recovery::Programs& programs_;
  const Options& options_;
  const std::string main_;
  const std::string auto_;
  bool known_ = false;
};

/// `pg_ctl -D DIR start` follows data_directory in DIR's own files (SelectConfigFiles() in
/// utils/misc/guc.c): it would start the old server's directory. external_pid_file is one of the
/// old server's.
void take_out_places(const recovery::Programs& programs, const Options& options, Report& report) {
  for (const auto* name : {"/postgresql.conf", kAuto}) {
    const auto file = options.into + name;
    for (const auto* setting : {"data_directory", "external_pid_file"}) {
      const auto changed = commented_out(read_settings(file), setting);
      if (!changed) continue;
      io::replace_small_file(file, *changed, kOwnFile);
      report.notes.push_back(
          fmt::format("{} was removed from {}: it is a path on the old server", setting, file));
    }
  }
  FromFiles effective(programs, options);
  const auto data = effective.value("data_directory");
  io::replace_small_file(options.into + kAuto, effective.content(), kOwnFile);
  if (!data || io::real_path(*data) == io::real_path(options.into)) return;
  throw Error(ErrorKind::conflict,
              "a file included by the backup's postgresql.conf sets data_directory: a server "
              "started here would use that directory")
      .with("data_directory", *data)
      .hint("Remove the setting from that file, and run the same command again.");
}

class Fill {
 public:
  Fill(const Choice& choice, const std::vector<Place>& places, const recovery::Programs& programs,
       const Options& options, Report& report)
      : choice_(choice), places_(places), programs_(programs), options_(options), report_(report) {}

  void run(const std::string& restore_command) {
    remove_what_was_begun();
    io::make_directories(work("global"));
    if (choice_.upon.empty())
      copy();
    else
      combine();
    const auto control = recovery::read_control(programs_, work(), options_.stop);
    if (choice_.system_identifier != 0 && control.system_identifier != choice_.system_identifier)
      throw Error(ErrorKind::conflict, "the backup and the archive belong to different clusters")
          .with("backup", control.system_identifier)
          .with("archive", choice_.system_identifier);
    recovery::clean(options_.into);
    if (io::type_of(options_.into + "/postgresql.conf") != io::PathType::file)
      report_.notes.emplace_back(
          "the backup has no postgresql.conf: the configuration is stored elsewhere (Debian: "
          "/etc/postgresql), and is not changed. The settings of this recovery are in "
          "postgresql.auto.conf, which is read last");
    take_out_places(programs_, options_, report_);
    write_settings(choice_.promise, choice_.timeline, programs_, control, restore_command, options_,
                   report_);
    set_modes();
  }

 private:
  [[nodiscard]] std::string work(const std::string& name = {}) const {
    return options_.into + "/" + kWork + (name.empty() ? "" : "/" + name);
  }
  [[nodiscard]] std::string mark_of(const Place& place) const {
    return mark_in(place.path, report_.id);
  }
  [[nodiscard]] std::string place_of(const std::string& oid) const {
    for (const auto& place : places_)
      if (place.of.oid == oid) return place.path;
    throw Error(ErrorKind::damage, "the backup has a tablespace that is not in its tablespace_map")
        .with("oid", oid);
  }

  /// WAL that was put there since the interruption may be the only copy. Of this recovery there is
  /// none yet, except for what pg_combinebackup copies from the last backup.
  void require_no_other_wal() const {
    const auto directory = options_.into + "/pg_wal";
    if (io::type_of(directory) != io::PathType::directory) return;
    for (const auto& name : io::all_names(directory))
      if (archive::SegmentFileName::parse(name) &&
          io::type_of(choice_.backup.path + "/pg_wal/" + name) == io::PathType::nothing)
        throw Error(ErrorKind::conflict, "pg_wal has WAL that this recovery did not create")
            .with("path", directory + "/" + name)
            .hint(
                "Move these files to another directory, add those that the archive lacks with "
                "\"pgweir import --extend\", and run the same command again.");
  }

  void remove_what_was_begun() {
    require_no_other_wal();
    for (const auto& name : io::all_names(options_.into))
      if (!name.starts_with("pgweir-recover.")) io::remove_tree(options_.into + "/" + name);
    for (const auto& place : places_) {
      if (io::type_of(place.path) == io::PathType::nothing) io::make_directories(place.path);
      const auto mark = mark_of(place);
      if (io::is_empty_directory(place.path)) io::make_directories(mark);
      // require_places() has seen it; a file system may have been mounted since then.
      if (io::type_of(mark) != io::PathType::directory)
        throw Error(ErrorKind::conflict, "the location of a tablespace is not empty")
            .with("path", place.path);
      for (const auto& name : io::all_names(place.path))
        if (const auto path = place.path + "/" + name; path != mark) io::remove_tree(path);
      for (const auto& name : io::all_names(mark)) io::remove_tree(mark + "/" + name);
    }
  }

  void copy() {
    options_.tell(
        fmt::format("copying {} ({})", choice_.backup.path, format_size(choice_.backup.bytes)));
    const auto brought =
        recovery::bring(choice_.backup,
                        {.data = options_.into,
                         .tablespace = [this](const std::string& oid) { return place_of(oid); },
                         .settings = true,
                         .control = kControlInWork,
                         .progress =
                             [this](std::uint64_t bytes) {
                               const auto total = std::max(bytes, choice_.backup.bytes);
                               options_.progress("copy", bytes, total);
                             }},
                        options_.stop);
    report_.backup_bytes = brought.bytes;
    report_.shared_bytes = brought.shared_bytes;
    group_access_ = brought.group_access;
    for (const auto& name : brought.emptied_links)
      report_.notes.push_back(
          fmt::format("{} is a link in the backup, and is an empty directory here: its target "
                      "belongs to the old server",
                      name));
    verify(choice_.backup.manifest, options_.into);
  }

  /// Into directories of its own, as the mark is for a tablespace: pg_combinebackup requires empty
  /// ones.
  void combine() {
    const auto tool = programs_.path("pg_combinebackup");
    if (!io::is_program(tool))
      throw Error(ErrorKind::retry, "an incremental backup needs pg_combinebackup")
          .with("path", tool)
          .hint("Install it, or specify its directory with --bindir.");
    io::Command command{tool};
    for (const auto& each : choice_.upon) command.push_back(each.path);
    const auto last = has_relative_links(places_) ? work("last") : choice_.backup.path;
    command.push_back(last);
    for (const auto& each : choice_.upon) verify(each.manifest, each.path, true);
    verify(choice_.backup.manifest, choice_.backup.path, true);
    const auto combined = work("combined");
    command.insert(command.end(), {"--no-sync", "-o", combined});
    for (const auto& place : places_)
      command.insert(command.end(),
                     {"-T", escaped(absolute_location(place)) + "=" + escaped(mark_of(place))});
    if (last != choice_.backup.path) copy_with_absolute_links(last);
    options_.tell(fmt::format("combining {}", counted(choice_.upon.size() + 1, "backup")));
    const auto told = recovery::run_tool(command, recovery::environment(), options_.stop);
    if (!told.done()) {
      const bool full = told.output.find("No space left on device") != std::string::npos;
      throw Error(full ? ErrorKind::disk_full : ErrorKind::damage,
                  "pg_combinebackup could not combine the backups")
          .with("it said", on_one_line(told.output));
    }
    const auto access = io::look_at_access(choice_.backup.path + "/PG_VERSION");
    group_access_ = access && (access->mode & 077U) == 040U;
    for (const auto& place : places_) {
      io::move_entries(mark_of(place), place.path);
      const auto link = combined + "/pg_tblspc/" + place.of.oid;
      io::remove_tree(link);
      io::make_symlink(place.path, link);
    }
    io::rename_file(combined + "/global/pg_control", options_.into + "/" + kControlInWork);
    io::move_entries(combined, options_.into);
    io::remove_tree(combined);
    if (last != choice_.backup.path) io::remove_tree(last);
    verify(options_.into + "/backup_manifest", options_.into);
    report_.backup_bytes = choice_.backup.bytes;
  }

  /// The directory with the files of the tablespace in the last backup.
  [[nodiscard]] std::string absolute_location(const Place& place) const {
    return place.of.location.starts_with('/')
               ? place.of.location
               : io::real_path(choice_.backup.path + "/pg_tblspc/" + place.of.oid);
  }

  /// Copies the data directory of the last backup. pg_combinebackup rejects relative links in its
  /// pg_tblspc (scan_for_existing_tablespaces() in pg_combinebackup.c), and only follows those of
  /// the earlier backups. The files of the tablespaces are not copied.
  void copy_with_absolute_links(const std::string& to) {
    options_.tell(
        fmt::format("copying {}: its links to tablespaces are relative, which "
                    "pg_combinebackup rejects",
                    choice_.backup.path));
    io::FileCopier copier(options_.stop);
    copy_data(choice_.backup.path, to, "", copier);
    for (const auto& place : places_)
      io::make_symlink(absolute_location(place), to + "/pg_tblspc/" + place.of.oid);
  }
  void copy_data(const std::string& from, const std::string& to, const std::string& name,
                 io::FileCopier& copier) {
    io::make_directories(to);
    if (name == "pg_wal") return;  // it is replayed from the archive
    for (const auto& entry : io::list_user_directory(from)) {
      const auto source = from + "/" + entry.name;
      if (name == "pg_tblspc" && io::read_link(source)) continue;
      if (entry.type == io::PathType::directory)
        copy_data(source, to + "/" + entry.name,
                  name.empty() ? entry.name : name + "/" + entry.name, copier);
      if (entry.type == io::PathType::file) copier.copy(source, to + "/" + entry.name);
    }
  }

  void verify(const std::string& manifest, const std::string& data, bool as_it_is = false) {
    if (manifest.empty()) {
      report_.notes.emplace_back("the backup has no manifest: its files cannot be checked");
      return;
    }
    if (!io::is_program(programs_.path("pg_verifybackup"))) {
      report_.notes.push_back("pg_verifybackup is not in " + programs_.directory +
                              ": the copy was not compared with the manifest");
      return;
    }
    options_.tell(fmt::format("comparing {} with {}", data, manifest));
    std::vector<std::string> ignored;
    // pg_control has a checksum of its own, which pg_controldata compares.
    if (!as_it_is) ignored.insert(ignored.end(), {"global/pg_control", kWork});
    for (const auto* name : {"pg_wal", "log", "pg_log"})
      if (!as_it_is && io::type_of(data + "/" + name) == io::PathType::directory &&
          io::is_empty_directory(data + "/" + name))
        ignored.emplace_back(name);
    const auto told =
        recovery::run_tool(recovery::verify_command(programs_, manifest, data, ignored),
                           recovery::environment(), options_.stop);
    if (!told.done())
      throw Error(ErrorKind::damage, "the backup does not match its manifest")
          .with("pg_verifybackup", on_one_line(told.output))
          .hint(
              "The copy cannot be used. Specify another backup with --backup, and another "
              "directory with --into.");
  }

  void set_modes() {
    constexpr unsigned kDirectory = 0700, kGroupDirectory = 0750, kGroupFile = 0640;
    const auto directory = group_access_ ? kGroupDirectory : kDirectory;
    const auto file = group_access_ ? kGroupFile : kOwnFile;
    io::set_modes(options_.into, directory, file);
    for (const auto& place : places_) io::set_modes(place.path, directory, file);
  }

  const Choice& choice_;
  const std::vector<Place>& places_;
  const recovery::Programs& programs_;
  const Options& options_;
  Report& report_;
  bool group_access_ = false;
};

}  // namespace

void fill(const Choice& choice, const std::vector<Place>& places,
          const recovery::Programs& programs, const std::string& restore_command,
          const Options& options, Report& report) {
  Fill(choice, places, programs, options, report).run(restore_command);
}

void write_settings(const recovery::Promise& promise, wal::TimelineId timeline,
                    const recovery::Programs& programs, const recovery::Control& control,
                    const std::string& restore_command, const Options& options, Report& report) {
  const auto file = options.into + kAuto;
  FromFiles effective(programs, options);
  const auto settings = own_settings({.options = options,
                                      .promise = promise,
                                      .timeline = timeline,
                                      .major = programs.major,
                                      .restore_command = restore_command,
                                      .limits = control.limits},
                                     effective);
  io::replace_small_file(file, with_settings(effective.content(), settings), kOwnFile);
  for (const auto& note : settings.notes)
    if (std::find(report.notes.begin(), report.notes.end(), note) == report.notes.end())
      report.notes.push_back(note);
  io::replace_small_file(options.into + (options.standby ? "/standby.signal" : "/recovery.signal"),
                         "", kOwnFile);
}

void make_durable(const std::vector<Place>& places, const Options& options) {
  io::sync_file_system(options.into);
  for (const auto& place : places) io::sync_file_system(place.path);
}

void finish(const std::vector<Place>& places, const Options& options, const Report& report) {
  const auto control = options.into + "/" + kControlInWork;
  // It has been renamed already if an earlier call ended between these lines.
  if (io::type_of(control) == io::PathType::file)
    io::rename_file(control, options.into + "/global/pg_control");
  io::sync_file_system(options.into);
  for (const auto& place : places) io::remove_tree(mark_in(place.path, report.id));
  io::remove_tree(options.into + "/" + kWork);
}

}  // namespace weir::recover
