// A base backup is requested upstream and passed on (`relay/base_backup`, `pq/passed_through`): the
// command is forwarded unchanged, and the server's own grammar checks its options, so the relay
// does not need to know those of 13 to 19. libpq parses the answer and the relay reassembles it,
// message by message, since only libpq can speak TLS and everything else to that server. A CopyDone
// is held back until the next message, because libpq also ends a copy at an error, and no client
// may take half a copy for a complete one. The backup's own thread connects and reads, and buffers
// 256 kB at most, so the session still notices its client and the end of the relay while a server
// sends nothing for an hour. The cluster is checked each time. A client that cancels its command
// gets a server's answer from the relay, and the relay disconnects from the upstream server as a
// client would.

#include "relay/base_backup.h"

#include <fmt/format.h>

#include <chrono>
#include <exception>
#include <utility>

#include "base/error.h"
#include "net/wait.h"
#include "pq/commands.h"
#include "pq/connection.h"
#include "pq/passed_through.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
using Progress = pq::PassedThrough::Progress;

/// Maximum size of an answer kept until it is taken, in addition to one message.
constexpr std::size_t kMost = std::size_t{256} << 10;
/// With TLS, part of a message may be buffered in the TLS layer, which poll() does not report.
constexpr auto kLookAgain = 20ms;
constexpr auto kLong = 1h;

BaseBackup::End broken(wire::ErrorReport report) {
  return {BaseBackup::End::Kind::broken, std::move(report)};
}

}  // namespace

BaseBackup::BaseBackup(BackupSource& source, std::string command, std::string for_whom,
                       std::function<void()> wake)
    : source_(source),
      command_(std::move(command)),
      for_whom_(std::move(for_whom)),
      wake_(std::move(wake)) {
  if (source_.running_.fetch_add(1) >= source_.options_.most) {
    --source_.running_;
    end_ = broken({"53300", "sorry, too many base backups already",
                   fmt::format("At most {} can run at the same time.", source_.options_.most),
                   "Wait until one has ended, or raise --serve-max-base-backups."});
    return;
  }
  try {
    thread_ = machine_threads().start("base-backup", [this] { work(); });
  } catch (const std::exception&) {
    --source_.running_;
    throw;
  }
  counted_ = true;
}

BaseBackup::~BaseBackup() {
  stop_.raise();
  if (thread_) thread_->join();
  if (counted_) --source_.running_;
}

std::optional<BaseBackup::End> BaseBackup::take(std::string& out) {
  const std::lock_guard lock(mutex_);
  out += std::exchange(bytes_, {});
  room_.raise();
  return end_;
}

void BaseBackup::work() {
  End end;
  try {
    end = carry();
  } catch (const net::Interrupted&) {
    return;  // the client has stopped taking it
  } catch (const Error& error) {
    source_.log_.error(error);
    const auto& sqlstate = error.sqlstate();
    end = broken({sqlstate.empty() ? "08006" : std::string(sqlstate),
                  fmt::format("could not get the base backup: {}", error.message()),
                  "This is pgweir, which requests base backups from a server "
                  "(--serve-base-backup)."});
  } catch (const std::exception& error) {
    source_.log_.error("{}", error.what());
    end = broken({"XX000", "could not get the base backup"});
  }
  const std::lock_guard lock(mutex_);
  end_ = std::move(end);
  wake_();
}

BaseBackup::End BaseBackup::carry() {
  auto connection = pq::Connection::open({.conninfo = source_.options_.conninfo}, stop_);
  const auto server = connection.server_name();
  const auto identity = pq::identify_system(connection);
  if (identity.system_identifier != source_.system_identifier_)
    throw Error(ErrorKind::refused, "the server for base backups is of another cluster")
        .with_sqlstate("55000")
        .with("server", server)
        .with("its system identifier", identity.system_identifier)
        .with("archive's", source_.system_identifier_)
        .hint("--serve-base-backup names the wrong server.");
  source_.log_.info("base backup for client {}: requesting it from {}", for_whom_, server);
  pq::PassedThrough answer(std::move(connection), command_);
  for (std::string bytes;;) {
    const auto progress = answer.take(bytes, kMost);
    const bool some = !bytes.empty();
    put(bytes);
    switch (progress) {
      case Progress::some:
        break;
      case Progress::nothing:
        if (!some)
          net::wait_for_socket(answer.socket(), true, false, &stop_,
                               Clock::now() + (answer.polls_again() ? kLookAgain : kLong));
        break;
      case Progress::done:
        source_.log_.info("base backup for client {}: done", for_whom_);
        return {End::Kind::done};
      case Progress::failed:
      case Progress::fatal:
        source_.log_.warning("base backup for client {}: {} returned an error", for_whom_, server);
        return {progress == Progress::fatal ? End::Kind::fatal : End::Kind::failed};
    }
  }
}

/// Waits until there is room for them.
void BaseBackup::put(std::string& bytes) {
  while (!bytes.empty()) {
    room_.clear();  // before the state that it signals is checked
    {
      const std::lock_guard lock(mutex_);
      if (bytes_.size() < kMost) {
        bytes_ += std::exchange(bytes, {});
        wake_();
        return;
      }
    }
    net::wait_for_socket(room_.fd(), true, false, &stop_, Clock::now() + kLong);
  }
}

}  // namespace weir::relay
