#include "receive/slot_guard.h"

#include <poll.h>

#include <charconv>
#include <utility>

#include "base/units.h"

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

bool wait(const pq::Interrupt& stop, std::chrono::milliseconds time) {
  pollfd fd{stop.fd(), POLLIN, 0};
  ::poll(&fd, 1, static_cast<int>(time.count()));
  return !stop.raised();
}

}  // namespace

SlotGuard::SlotGuard(std::string conninfo, std::string slot, Log& log, StatusBoard& board)
    : conninfo_(std::move(conninfo)),
      slot_(std::move(slot)),
      log_(log),
      board_(board),
      thread_([this] { work(); }) {}

SlotGuard::~SlotGuard() {
  stop_.raise();
  thread_.join();
}

void SlotGuard::work() {
  bool told_failure = false;
  while (!stop_.raised()) {
    try {
      auto connection = pq::Connection::open({.conninfo = conninfo_,
                                              .replication = pq::Replication::none,
                                              .fallback_application_name = "pgweir monitor"},
                                             stop_);
      told_failure = false;
      do look(connection);
      while (wait(stop_, kLookEvery));
    } catch (const pq::Interrupted&) {
      return;
    } catch (const Error& error) {
      if (!told_failure)
        log_.warning("the slot cannot be watched: {}; archiving is not affected, trying again",
                     error.what());
      told_failure = true;
      if (!wait(stop_, kLookEvery)) return;
    }
  }
}

void SlotGuard::look(pq::Connection& connection) {
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
  board_.update([&](auto& content) {
    content.slot_view = view;
    content.slot_looked = std::chrono::system_clock::now();
  });
  auto trouble = slot_trouble(slot_, view, kWarnBelow);
  // Between two streams nobody holds it for a moment: only if that lasts it is trouble.
  const bool inactive = trouble && trouble->kind == SlotTrouble::Kind::inactive;
  if (inactive && !std::exchange(seen_inactive_, true)) trouble.reset();
  if (!inactive) seen_inactive_ = false;
  tell(trouble);
}

/// Each kind of trouble is told once, when it begins; the status shows the latest figures.
void SlotGuard::tell(const std::optional<SlotTrouble>& trouble) {
  board_.update([&](auto& content) {
    content.slot_warning = trouble ? std::optional(trouble->text) : std::nullopt;
  });
  if (trouble && trouble->kind != told_) log_.warning("{}", trouble->text);
  if (!trouble && told_) log_.info("replication slot \"{}\" is well again", slot_);
  told_ = trouble ? std::optional(trouble->kind) : std::nullopt;
}

std::optional<SlotTrouble> slot_trouble(const std::string& slot, const SlotView& view,
                                        std::int64_t warn_below) {
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
                           "anew, and check the archive for a gap"};
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
