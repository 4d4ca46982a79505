#include "recover/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/exit_status.h"
#include "base/text.h"
#include "io/small_file.h"
#include "io/tree.h"
#include "io/user_tree.h"
#include "net/wake.h"
#include "pq/connection.h"
#include "recover/own_settings.h"
#include "recovery/has_commit.h"
#include "recovery/settings.h"
#include "wal/segment.h"

namespace weir::recover {

namespace {

using namespace std::chrono_literals;

constexpr auto kLook = 100ms;
constexpr std::uint64_t kSmall = std::uint64_t{64} << 10;
constexpr const char* kLog = "/pgweir-recover.log";
constexpr const char* kPidFile = "/postmaster.pid";

/// postmaster.pid (miscadmin.h, LOCK_FILE_LINE_…).
struct PidFile {
  pid_t pid = 0;
  std::string port, socket_directory, status;
};
std::optional<PidFile> read_pid_file(const std::string& data) {
  const auto path = data + kPidFile;
  if (io::type_of(path) != io::PathType::file) return std::nullopt;
  std::vector<std::string> lines;
  try {
    recovery::each_line(io::read_front(path, kSmall),
                        [&](std::string_view line) { lines.emplace_back(trimmed(line)); });
  } catch (const Error&) {
    return std::nullopt;  // it was removed
  }
  const auto pid = lines.empty() ? std::nullopt : parse_number<pid_t>(lines[0]);
  if (!pid || *pid <= 0) return std::nullopt;
  PidFile file{.pid = *pid};
  // An empty line in it (no TCP) is left out above: the last one is the status.
  if (lines.size() > 3) file.port = lines[3];
  if (lines.size() > 4 && lines[4].starts_with('/')) file.socket_directory = lines[4];
  if (lines.size() > 5) file.status = lines.back();
  return file;
}

/// After a reboot, any process may have an ID that a file names. One of another user is not the
/// server (CreateLockFile() in utils/init/miscinit.c), which works in its data directory.
bool is_server_of(const std::string& data, pid_t pid) {
  if (::kill(pid, 0) != 0) return false;
  try {
    const auto works_in = io::read_link(fmt::format("/proc/{}/cwd", pid));
    return !works_in || *works_in == io::real_path(data);
  } catch (const Error& error) {
    return error.system_code() != ENOENT;  // it has ended; else that is not known
  }
}

/// True for a FATAL or PANIC of the postmaster or of the startup process, as far as the text tells:
/// the server has ended, or will. The other ones are of sessions and of the WAL receiver, and the
/// server continues; their texts are in tcop/backend_startup.c (postmaster/postmaster.c until 16),
/// libpq/auth.c, utils/init/postinit.c, tcop/postgres.c, replication/walreceiver.c.
bool ends_server(std::string_view line) {
  constexpr std::array<std::string_view, 18> kOfOthers = {"the database system is ",
                                                          "too many clients already",
                                                          "connection slots are reserved",
                                                          "too many connections for ",
                                                          "authentication failed for user",
                                                          "canceling authentication",
                                                          "no pg_hba.conf entry for",
                                                          "pg_hba.conf rejects ",
                                                          "frontend protocol",
                                                          "startup packet",
                                                          " is not permitted to log in",
                                                          " is not currently accepting connections",
                                                          "permission denied for database",
                                                          "connection to client lost",
                                                          "terminating ",
                                                          "could not connect to the primary server",
                                                          "WAL stream",
                                                          "FATAL:  role \""};
  const auto fatal = line.find("FATAL:  ");
  if (fatal == std::string_view::npos) return line.find("PANIC:  ") != std::string_view::npos;
  if (line.substr(fatal).starts_with("FATAL:  database \"")) return false;
  return std::none_of(kOfOthers.begin(), kOfOthers.end(), [&](std::string_view words) {
    return line.find(words, fatal) != std::string_view::npos;
  });
}

/// Reads what a server has appended since the last call.
class LogFile {
 public:
  enum class From {
    end,
    last_start,         ///< of a server that runs, if that is logged; else the end
    last_start_or_all,  ///< of any, if that is logged; else the beginning
  };
  LogFile(std::string path, From from) : path_(std::move(path)) {
    const auto size = io::file_size(path_).value_or(0);
    at_ = from == From::last_start_or_all ? 0 : size;
    if (from != From::end)
      if (const auto start = find_last_start(size, from == From::last_start)) at_ = *start;
  }
  template <typename Visit>
  void read(Visit visit) {
    const auto size = io::file_size(path_);
    if (size && *size < at_) at_ = 0;  // it was truncated
    if (!size || *size <= at_) return;
    const auto file = io::open_user_file(path_);
    std::vector<std::byte> bytes(std::min<std::uint64_t>(*size - at_, kSmall * 16));
    bytes.resize(file->read_at(at_, bytes));
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    const auto whole = text.substr(0, text.find_last_of('\n') + 1);
    at_ += whole.size();
    recovery::each_line(whole, visit);
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  /// Returns where the lines of the last server begin that has appended to the file. The words are
  /// the first ones of each server from 12 on (PostmasterMain() in postmaster/postmaster.c), and
  /// the last ones. nullopt: they are not there.
  [[nodiscard]] std::optional<std::uint64_t> find_last_start(std::uint64_t size, bool runs) const {
    constexpr std::string_view kFirst = "starting PostgreSQL ",
                               kLast = "database system is shut down";
    constexpr auto kPiece = kSmall * 16;
    if (size == 0) return std::nullopt;
    const auto file = io::open_user_file(path_);
    std::vector<std::byte> bytes;
    for (auto end = size;;) {
      const auto from = end - std::min(end, kPiece);
      bytes.resize(std::min(end + kLast.size(), size) - from);  // words may be in two pieces
      const auto count = file->read_at(from, bytes);
      const std::string_view text(reinterpret_cast<const char*>(bytes.data()), count);
      const auto first = text.rfind(kFirst);
      // (If the last one has ended, the one that runs now does not log its start.)
      const auto last = runs ? text.rfind(kLast) : std::string_view::npos;
      if (last != std::string_view::npos && (first == std::string_view::npos || first < last))
        return from + last + kLast.size();
      if (first != std::string_view::npos) return from + first;
      if (from == 0) return std::nullopt;
      end = from;
    }
  }

  std::string path_;
  std::uint64_t at_ = 0;
};

class Watch {
 public:
  Watch(const recovery::Programs& programs, const Options& options, Report& report)
      : programs_(programs), options_(options), report_(report) {}

  void run() {
    const bool lived = server_lives(options_.into);
    const auto from = lived ? LogFile::From::last_start : LogFile::From::end;
    logs_.emplace_back(options_.into + kLog, from);
    add_collected_logs(from);  // an earlier server's stay until the next one starts
    const bool changed = change_settings(with_watching);
    if (!lived)
      start();
    else if (changed && !reload())
      options_.tell("the server did not reload its configuration: its log may not be readable");
    try {
      follow();
    } catch (const net::Interrupted&) {  // in a query to the server
      throw interrupted();
    }
  }

 private:
  [[nodiscard]] io::Command pg_ctl(std::initializer_list<std::string> words) const {
    io::Command command{programs_.path("pg_ctl"), "-D", options_.into};
    command.insert(command.end(), words);
    return command;
  }

  void start() {
    options_.tell("starting the server");
    const auto told = recovery::run_tool(
        // A server that inherits its output would keep it open.
        options_.start_command
            ? io::Command{"/bin/sh", "-c", "exec >>\"$0\" 2>&1; " + *options_.start_command,
                          options_.into + kLog}
            : pg_ctl({"-l", options_.into + kLog, "-W", "-s", "start"}),
        recovery::environment(), options_.stop);
    if (!told.done())
      throw Error(ErrorKind::retry, "the server could not be started")
          .with("it said", trimmed(told.output));
  }

  void follow() {
    constexpr auto kPatience = 60s;
    auto gone_since = std::chrono::steady_clock::now();
    bool seen = false;
    for (;;) {
      const auto file = read_pid_file(options_.into);
      const bool lives = file && is_server_of(options_.into, file->pid);
      if (lives) find_log_of(*file);
      read_logs();
      if (lives) {
        seen = true;
        gone_since = std::chrono::steady_clock::now();
        // A hot standby is "ready", too (sigusr1_handler() in postmaster/postmaster.c).
        const bool ready = file->status == "ready";
        if (options_.standby && (ready || file->status == "standby") && is_settled(*file))
          return follows();
        if (ready && (paused_ || says_that_it_paused(*file))) return paused(*file);
        if (ready && !options_.standby && is_promoted()) return promoted(*file);
        show_progress(file->pid);
      } else if (seen || started_and_ended() ||
                 std::chrono::steady_clock::now() - gone_since > kPatience) {
        read_logs();
        return ended();
      }
      if (options_.stop()) throw interrupted();
      std::this_thread::sleep_for(kLook);
    }
  }

  static Error interrupted() {
    return Error(ErrorKind::retry, "interrupted; the server continues")
        .hint("The same command follows it again.");
  }

  /// "in production" alone proves nothing: pg_control of a primary's backup has it, too.
  bool is_promoted() {
    return reached() &&
           recovery::read_control(programs_, options_.into, options_.stop).state == "in production";
  }
  /// By the history of the timeline that the server has started.
  [[nodiscard]] std::optional<wal::Lsn> reached() const {
    return recovery::reached_position(options_.into, report_.timeline.value_or(0));
  }

  /// It was started by pg_ctl, and has exited before its file was seen.
  bool started_and_ended() { return server_ended_ && !io::file_size(options_.into + kPidFile); }

  /// --start-command may direct the server's output to any file, as pg_ctlcluster does.
  void find_log_of(const PidFile& server) {
    // Its first line is written before it has a status.
    if (server.pid == with_log_ ||
        (server.status != "starting" && server.status != "ready" && server.status != "standby"))
      return;
    try {
      const auto path = io::read_link(fmt::format("/proc/{}/fd/2", server.pid));
      with_log_ = server.pid;
      if (!path || io::type_of(*path) != io::PathType::file) return;
      for (const auto& log : logs_)
        if (io::real_path(log.path()) == *path) return;
      logs_.emplace_back(*path, LogFile::From::last_start);
    } catch (const Error&) {
      return;  // it has ended, or the log is not readable
    }
  }

  /// With logging_collector on, the log continues in the file that is named here.
  void add_collected_logs(LogFile::From from) {
    const auto current = options_.into + "/current_logfiles";
    if (io::type_of(current) != io::PathType::file) return;
    std::string names;
    try {
      names = io::read_front(current, kSmall);
    } catch (const Error&) {
      return;  // the server has removed it, or replaces it: it is read again soon
    }
    recovery::each_line(names, [&](std::string_view line) {
      constexpr std::string_view kStderr = "stderr ";
      if (!line.starts_with(kStderr)) return;
      auto path = std::string(line.substr(kStderr.size()));
      if (!path.starts_with('/')) path = options_.into + "/" + path;
      const bool known = std::any_of(logs_.begin(), logs_.end(),
                                     [&](const LogFile& each) { return each.path() == path; });
      if (!known) logs_.emplace_back(path, from);
    });
  }

  void read_logs() {
    add_collected_logs(LogFile::From::last_start_or_all);
    for (auto& log : logs_)
      log.read([&](std::string_view line) {
        const auto has = [&](std::string_view words) {
          return line.find(words) != std::string_view::npos;
        };
        paused_ = paused_ || has("pausing at the end of recovery");
        shut_down_at_target_ = shut_down_at_target_ || has("shutdown at recovery target");
        asked_to_stop_ = asked_to_stop_ || (has("received ") && has(" shutdown request"));
        const bool fatal = has("FATAL:  ") || has("PANIC:  ");
        // A client that connects early shows nothing about the end.
        fatal_ = fatal_ || (fatal && !has("FATAL:  the database system is starting up") &&
                            !has("FATAL:  the database system is not yet accepting connections"));
        server_ended_ = server_ended_ || ends_server(line);
        if (has("FATAL:  ") || has("PANIC:  ") || has("DETAIL:  ") || has("HINT:  ") ||
            has("pgweir: error") || has("pgweir: warning") || has("hint: "))
          said_.emplace_back(line);
        if (has("FATAL:  ") || has("PANIC:  ") || has("pgweir: error"))
          options_.tell(std::string(line));
      });
  }

  /// The title of the startup process has the segment that it replays.
  [[nodiscard]] std::optional<wal::SegmentName> replayed_segment(pid_t postmaster) const {
    const auto children = fmt::format("/proc/{0}/task/{0}/children", postmaster);
    if (io::type_of(children) != io::PathType::file) return std::nullopt;
    try {
      auto text = io::read_front(children, kSmall);
      for (std::string_view rest = text; !rest.empty();) {
        const auto word = rest.substr(0, rest.find(' '));
        rest.remove_prefix(std::min(rest.size(), word.size() + 1));
        const auto title = io::read_front(fmt::format("/proc/{}/cmdline", word), kSmall);
        constexpr std::string_view kBefore = "recovering ";
        constexpr std::size_t kName = 24;
        const auto at = title.find(kBefore);
        if (at == std::string::npos) continue;
        if (auto name = wal::SegmentName::parse(title.substr(at + kBefore.size(), kName)))
          return name;
      }
    } catch (const Error&) {
      return std::nullopt;  // a process that has ended
    }
    return std::nullopt;
  }

  void show_progress(pid_t postmaster) const {
    if (!report_.promised || report_.wal_bytes == 0) return;
    const auto name = replayed_segment(postmaster);
    const auto size = wal::SegmentSize::of(report_.segment_bytes);
    if (!name || !size || !name->fits(*size)) return;
    const auto now = name->start(*size);
    const auto left = now < *report_.promised ? *report_.promised - now : 0;
    options_.progress("replay", report_.wal_bytes - std::min(left, report_.wal_bytes),
                      report_.wal_bytes);
  }

  void promoted(const PidFile& file) {
    report_.reached = reached();
    ask(file);
    if (!report_.reached)
      report_.fail(kNo, "the server was promoted, and its history file is missing");
    else if (report_.promised && *report_.reached != *report_.promised)
      report_.fail(kNo, fmt::format("the recovery has ended at {} instead of {}", *report_.reached,
                                    *report_.promised));
    compare_commit();
    if (report_.failed()) return;
    report_.state = State::reached;
    take_out_settings();
  }

  /// Replaces the content of postgresql.auto.conf by change(content). False: there is no change.
  template <typename Change>
  bool change_settings(Change change) {
    constexpr unsigned kUnknown = 0600;
    const auto file = options_.into + "/postgresql.auto.conf";
    const auto before = io::read_small_file(file, kSmall * 256);
    const auto after = change(before);
    if (after == before) return false;
    const auto mode = io::look_at_access(file);
    io::replace_small_file(file, after, mode ? mode->mode : kUnknown, io::Replace::durably);
    return true;
  }

  [[nodiscard]] bool reload() const {
    return recovery::run_tool(pg_ctl({"-s", "reload"}), recovery::environment(), options_.stop)
        .done();
  }

  /// The settings of this recovery would also control that of the next base backup.
  void take_out_settings() {
    change_settings(without_recovery);
    report_.notes.emplace_back(
        reload()
            ? "the recovery settings were removed from postgresql.auto.conf"
            : "the recovery settings were removed from postgresql.auto.conf; reload the server");
  }

  /// A standby, or a server that has paused, keeps the others.
  void take_out_watching() {
    if (change_settings(without_watching) && server_lives(options_.into) && !reload())
      report_.notes.emplace_back(
          "lc_messages and log_destination were removed from postgresql.auto.conf; reload the "
          "server");
  }

  /// Also if its log is out of reach, or has no such lines (log_min_messages, syslog).
  bool says_that_it_paused(const PidFile& file) {
    constexpr auto kBetween = 1s;
    const auto now = std::chrono::steady_clock::now();
    if (options_.action != Action::pause || now - asked_ < kBetween) return false;
    bool paused = false;
    with_login(file, [&](pq::Connection& connection) {
      const auto rows = connection.execute(
          "SELECT pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_is_wal_replay_paused()");
      if (rows.empty() || rows[0].size() < 2 || !rows[0][0] || rows[0][1] != "t") return;
      // The server may also have paused where a setting must be raised.
      paused = !report_.promised || wal::Lsn::parse(*rows[0][0]) == report_.promised;
    });
    asked_ = std::chrono::steady_clock::now();
    return paused;
  }

  void paused(const PidFile& file) {
    ask(file);
    if (report_.reached && report_.promised && *report_.reached != *report_.promised)
      report_.fail(kNo, fmt::format("the recovery has paused at {} instead of {}", *report_.reached,
                                    *report_.promised));
    compare_commit();
    if (report_.failed()) return;
    report_.state = State::reached;
    take_out_watching();
  }

  /// A standby is open long before it has replayed what the archive has, and it never ends its
  /// recovery: true if it has come to the promised position, or comes no further.
  bool is_settled(const PidFile& file) {
    constexpr auto kBetween = 1s, kPatience = 20s;
    const auto now = std::chrono::steady_clock::now();
    if (now - asked_ < kBetween) return false;
    asked_ = now;
    // The receive position counts once something was received: before, it is where it would begin.
    const auto ask = [&](pq::Connection& connection) {
      const auto rows = connection.execute(
          "SELECT GREATEST(pg_catalog.pg_last_wal_replay_lsn(), CASE WHEN EXISTS (SELECT FROM"
          " pg_catalog.pg_stat_wal_receiver WHERE status = 'streaming' AND latest_end_lsn IS NOT"
          " NULL) THEN pg_catalog.pg_last_wal_receive_lsn() END)");
      if (!rows.empty() && !rows[0].empty() && rows[0][0])
        report_.reached = wal::Lsn::parse(*rows[0][0]);
    };
    const bool open = file.status == "ready";
    if (open && !with_login(file, ask) && !report_.reached) return true;  // it rejects the login
    if (has_what_was_promised()) return true;
    const auto before = std::pair(position_, segment_);
    position_ = report_.reached;
    if (auto replayed = replayed_segment(file.pid)) segment_ = replayed;
    if (std::pair(position_, segment_) != before || !stands_since_) stands_since_ = now;
    return now - *stands_since_ > kPatience;
  }

  [[nodiscard]] bool has_what_was_promised() const {
    return report_.reached && (!report_.promised || *report_.reached >= *report_.promised);
  }

  void follows() {
    if (has_what_was_promised()) {
      report_.state = State::reached;
    } else if (report_.reached) {
      report_.status = kTryAgain;
      report_.notes.push_back(fmt::format(
          "the standby has WAL up to {} so far, and gets no more from the archive or its primary: "
          "the server's log says why",
          *report_.reached));
    } else {
      report_.notes.emplace_back(
          "the standby continues, but its position was not queried: no login is possible without "
          "a password, or hot_standby is off");
    }
    take_out_watching();
  }

  void ended() {
    constexpr std::size_t kWords = 12;
    if (said_.size() > kWords)
      said_.erase(said_.begin(), said_.end() - static_cast<std::ptrdiff_t>(kWords));
    if (options_.action == Action::shutdown && !options_.standby) {
      const auto control = recovery::read_control(programs_, options_.into, options_.stop);
      // A server that someone has stopped on the way is in that state, too. A FATAL may be a
      // client's that was rejected or disconnected.
      const bool at_target = shut_down_at_target_ || (!fatal_ && !asked_to_stop_);
      if (control.state == "shut down in recovery" && at_target) {
        report_.state = State::reached;
        take_out_watching();
        return;
      }
    }
    report_.server_log = said_;
    report_.state = State::failed;
    const bool full = std::any_of(said_.begin(), said_.end(), [](const std::string& line) {
      return line.find("No space left on device") != std::string::npos;
    });
    if (full)
      report_.fail(kTryAgain, "the disk became full while the server recovered",
                   "Free space, and run the same command again: the server continues.");
    else
      report_.fail(kNo, "the server stopped before recovery reached the target",
                   fmt::format("The end of its log is shown above; the complete log is {}. Correct "
                               "the cause, and run the same command again.",
                               logs_.back().path()));
  }

  void compare_commit() {
    if (report_.commit_reached == false && report_.promised_commit)
      report_.fail(kNo, fmt::format("the last commit (xid {}) is not in the recovered database",
                                    report_.promised_commit->transaction));
  }

  void ask(const PidFile& file) {
    if (file.socket_directory.empty()) return;
    const bool asked = with_login(file, [&](pq::Connection& connection) {
      if (!report_.reached) {
        const auto rows = connection.execute("SELECT pg_last_wal_replay_lsn()");
        if (!rows.empty() && !rows[0].empty() && rows[0][0])
          report_.reached = wal::Lsn::parse(*rows[0][0]);
      }
      if (report_.promised_commit)
        report_.commit_reached = recovery::has_commit(connection, *report_.promised_commit);
      tell_prepared_transactions(connection);
      tell_subscriptions(connection);
    });
    if (!asked)
      report_.notes.emplace_back(
          report_.reached
              ? "no login is possible without a password: the position was checked, but the last "
                "commit was not queried"
              : "no login is possible without a password: neither the position nor the last commit "
                "was queried; the server's log shows that it paused at the target");
  }

  /// By a login without a password, which the backup's pg_hba.conf may reject: false.
  template <typename Use>
  bool with_login(const PidFile& file, Use use) {
    if (file.socket_directory.empty()) return false;
    const std::set<std::string> users = {"postgres", io::this_user().name};
    for (const auto& user : users) {
      try {
        pq::ConnectOptions connect;
        connect.conninfo =
            fmt::format("host={} port={} user={} dbname=postgres sslmode=disable passfile={}",
                        quoted(file.socket_directory), file.port, quoted(user),
                        quoted(options_.into + "/pgweir-no-passfile"));
        connect.replication = pq::Replication::none;
        connect.fallback_application_name = "pgweir recover";
        auto connection = pq::Connection::open(connect, *options_.interrupt);
        use(connection);
        return true;
      } catch (const Error&) {
        continue;  // it rejects this user
      }
    }
    return false;
  }

  /// A transaction that was prepared before the target, and ended after it, stays open until it is
  /// ended manually. A server that is still in recovery does not list them.
  void tell_prepared_transactions(pq::Connection& connection) {
    const auto rows = connection.execute(
        "SELECT pg_catalog.quote_literal(gid) || ' in database ' || "
        "pg_catalog.quote_ident(database)"
        " FROM pg_catalog.pg_prepared_xacts ORDER BY prepared");
    if (rows.empty()) return;
    constexpr std::size_t kNamed = 5;
    std::string names;
    for (std::size_t i = 0; i < std::min(rows.size(), kNamed); ++i)
      names += (i == 0 ? "" : ", ") + rows[i].at(0).value_or("?");
    if (rows.size() > kNamed) names += ", ...";
    report_.notes.push_back(fmt::format(
        "{} open: {}. Each keeps its locks, and prevents VACUUM from removing dead rows, until it "
        "is ended with COMMIT PREPARED or ROLLBACK PREPARED (see pg_prepared_xacts)",
        rows.size() == 1 ? "1 prepared transaction is"
                         : fmt::format("{} prepared transactions are", rows.size()),
        names));
  }

  /// Those of the backup's server: after the promotion they stream from the same slots.
  void tell_subscriptions(pq::Connection& connection) {
    const auto rows = connection.execute(
        "SELECT pg_catalog.count(*) FROM pg_catalog.pg_subscription WHERE subenabled");
    const auto count = rows.empty() || rows[0].empty() || !rows[0][0]
                           ? std::nullopt
                           : parse_number<std::uint64_t>(*rows[0][0]);
    if (count.value_or(0) == 0) return;
    report_.notes.push_back(fmt::format(
        "{} enabled (see pg_subscription): unless max_logical_replication_workers is 0, a server "
        "that is promoted receives from their publishers, and advances the slots there. If the old "
        "server, or another copy of it, still runs, disable them (ALTER SUBSCRIPTION ... DISABLE)",
        *count == 1 ? std::string("1 subscription is")
                    : fmt::format("{} subscriptions are", *count)));
  }

  static std::string quoted(const std::string& value) {
    std::string text = "'";
    for (const char c : value)
      text += c == '\'' || c == '\\' ? std::string{'\\', c} : std::string{c};
    return text + "'";
  }

  const recovery::Programs& programs_;
  const Options& options_;
  Report& report_;
  std::vector<LogFile> logs_;
  std::vector<std::string> said_;
  pid_t with_log_ = 0;  ///< the server whose output was searched for
  std::chrono::steady_clock::time_point asked_;
  std::optional<wal::Lsn> position_;         ///< of the standby, in WAL
  std::optional<wal::SegmentName> segment_;  ///< the last one that it has replayed from
  std::optional<std::chrono::steady_clock::time_point> stands_since_;  ///< both are the same
  bool paused_ = false;
  bool shut_down_at_target_ = false;
  bool asked_to_stop_ = false;
  bool fatal_ = false;
  bool server_ended_ = false;
};

}  // namespace

bool server_lives(const std::string& data) {
  const auto file = read_pid_file(data);
  return file && is_server_of(data, file->pid);
}

void start_and_watch(const recovery::Programs& programs, const Options& options, Report& report) {
  Watch(programs, options, report).run();
}

}  // namespace weir::recover
