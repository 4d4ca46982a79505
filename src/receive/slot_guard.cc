#include "receive/slot_guard.h"

#include <poll.h>

#include <array>
#include <charconv>
#include <utility>

#include "base/units.h"
#include "net/wake.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

constexpr auto kLookEvery = 30s;
/// Four segments of the default size: little time is left on a busy server.
constexpr std::int64_t kWarnBelow = 64 * 1024 * 1024;

std::optional<std::int64_t> number(const std::optional<std::string>& text) {
  if (!text) return std::nullopt;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc()) return std::nullopt;
  return value;
}

/// False once `stop` is raised.
bool wait(const net::Wake& stop, net::Wake& wake, std::chrono::milliseconds time) {
  std::array<pollfd, 2> fds{{{stop.fd(), POLLIN, 0}, {wake.fd(), POLLIN, 0}}};
  ::poll(fds.data(), fds.size(), static_cast<int>(time.count()));
  wake.clear();
  return !stop.raised();
}

}  // namespace

SlotGuard::SlotGuard(std::string conninfo, std::string slot, bool expected, Log& log,
                     StatusBoard& board)
    : conninfo_(std::move(conninfo)),
      slot_(std::move(slot)),
      log_(log),
      board_(board),
      expected_(expected),
      thread_([this] { work(); }) {}

SlotGuard::~SlotGuard() {
  stop_.raise();
  thread_.join();
}

void SlotGuard::expect(bool expected) {
  expected_ = expected;
  look_now_.raise();
}

void SlotGuard::work() {
  bool told_failure = false;
  do {
    try {
      // One connection for each look: a server that shuts down in smart mode waits until all
      // sessions have ended of themselves (P13).
      auto connection = pq::Connection::open({.conninfo = conninfo_,
                                              .replication = pq::Replication::none,
                                              .fallback_application_name = "pgweir monitor"},
                                             stop_);
      told_failure = false;
      look(connection);
    } catch (const net::Interrupted&) {
      return;
    } catch (const Error& error) {
      if (!told_failure)
        log_.warning("the slot cannot be watched: {}; archiving is not affected, trying again",
                     error.what());
      told_failure = true;
    }
  } while (wait(stop_, look_now_, kLookEvery));
}

void SlotGuard::look(pq::Connection& connection) {
  const bool expected = expected_;  // before the question: the slot may be made meanwhile
  const std::string reason =
      connection.server_major() >= 17 ? "invalidation_reason::text" : "NULL::text";
  const auto rows = connection.execute(
      "SELECT active, wal_status, safe_wal_size, "
      "pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN coalesce(pg_last_wal_receive_lsn(), "
      "pg_last_wal_replay_lsn()) ELSE pg_current_wal_lsn() END, restart_lsn)::bigint, " +
      reason +
      " FROM pg_catalog.pg_replication_slots WHERE slot_name = " + connection.quote_literal(slot_));
  SlotView view;
  if (!rows.empty()) {
    const auto& row = rows.front();
    view.exists = true;
    view.active = row[0] == "t";
    view.wal_status = row[1].value_or("");
    view.safe_wal_size = number(row[2]);
    view.retained = number(row[3]);
    view.invalidation_reason = row[4];
  }
  if (!view.exists && !expected) {
    board_.update([](auto& content) { content.slot_view.reset(); });
    tell(std::nullopt);
    return;
  }
  board_.update([&](auto& content) {
    content.slot_view = view;
    content.slot_looked = std::chrono::system_clock::now();
  });
  auto trouble = slot_trouble(slot_, view, kWarnBelow, connection.server_major());
  // Between two streams nobody holds it for a moment: only if that lasts it is trouble.
  const bool inactive = trouble && trouble->kind == SlotTrouble::Kind::inactive;
  const auto now = std::chrono::steady_clock::now();
  if (!inactive)
    inactive_since_.reset();
  else if (!inactive_since_)
    inactive_since_ = now;
  if (inactive && now - *inactive_since_ < kLookEvery - 1s) trouble.reset();
  tell(trouble);
}

/// Each kind of trouble is told once, when it begins; the status shows the latest figures.
void SlotGuard::tell(const std::optional<SlotTrouble>& trouble) {
  board_.update([&](auto& content) {
    content.slot_warning = trouble ? std::optional(trouble->text) : std::nullopt;
  });
  if (trouble && trouble->kind != told_) log_.warning("{}", trouble->text);
  if (!trouble && told_ && expected_) log_.info("replication slot \"{}\" is well again", slot_);
  told_ = trouble ? std::optional(trouble->kind) : std::nullopt;
}

std::optional<SlotTrouble> slot_trouble(const std::string& slot, const SlotView& view,
                                        std::int64_t warn_below, int server_major) {
  using Kind = SlotTrouble::Kind;
  const auto begin = "replication slot \"" + slot + "\" ";
  if (!view.exists)
    return SlotTrouble{Kind::missing, begin +
                                          "does not exist on the monitored server: WAL is not kept "
                                          "for this archive"};
  if (view.wal_status == "lost" || view.invalidation_reason)
    return SlotTrouble{Kind::invalidated,
                       begin + "was invalidated (" +
                           view.invalidation_reason.value_or("wal_status lost") +
                           "): the server no longer keeps WAL for this archive; drop it, create it "
                           "anew, and check the archive for a gap. " +
                           pq::why_invalidated(view.invalidation_reason, server_major)};
  if (view.wal_status == "unreserved")
    return SlotTrouble{Kind::unreserved,
                       begin +
                           "holds back more WAL than max_slot_wal_keep_size allows: the next "
                           "checkpoint may remove WAL that is not archived yet; raise the setting "
                           "or speed up archiving"};
  if (view.safe_wal_size && *view.safe_wal_size < warn_below) {
    const auto left = static_cast<std::uint64_t>(std::max<std::int64_t>(0, *view.safe_wal_size));
    return SlotTrouble{Kind::running_out, begin + "will be given up after " + format_size(left) +
                                              " more of WAL (max_slot_wal_keep_size)"};
  }
  if (!view.active)
    return SlotTrouble{Kind::inactive,
                       begin + "is not active: no receiver is connected to it at the moment"};
  return std::nullopt;
}

}  // namespace weir::receive
