#include "receive/slot_guard.h"

#include <fmt/format.h>

#include <utility>

#include "base/units.h"
#include "net/wake.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

constexpr auto kReadEvery = 30s;
/// A restart of the server is over by then. The alert PgweirSlotNotWatched waits as long.
constexpr auto kUnknownFor = 10min;
/// Four segments of the default size: little time remains on a busy server.
constexpr std::int64_t kWarnBelow = 64 * 1024 * 1024;

}  // namespace

SlotGuard::SlotGuard(Servers& servers, Machine& machine, std::string conninfo, std::string slot,
                     bool expected, Log& log, StatusBoard& board,
                     std::function<void(const std::string& names)> heard_names,
                     std::string why_held)
    : servers_(servers),
      machine_(machine),
      conninfo_(std::move(conninfo)),
      slot_(std::move(slot)),
      log_(log),
      board_(board),
      heard_names_(std::move(heard_names)),
      why_held_(std::move(why_held)),
      expected_(expected),
      look_(machine.threads(), "slot guard", machine.now(), [this] { return look(); }) {}

void SlotGuard::expect(bool expected, std::string server) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(server_, server) != server)
      board_.update([](auto& content) { content.cut_off_since.reset(); });
  }
  expected_ = expected;
  look_.look_now();
}

std::optional<Time> SlotGuard::look() {
  try {
    check();
    fails_since_.reset();
  } catch (const net::Interrupted&) {
    return std::nullopt;
  } catch (const Error& error) {
    const auto now = machine_.now();
    if (!fails_since_) {
      fails_since_ = now;
      log_.warning("the slot cannot be monitored: {}; archiving is not affected, trying again",
                   error.what());
    }
    // Another problem, which was found before, is still the more important one.
    using Kind = SlotTrouble::Kind;
    if (now - *fails_since_ >= kUnknownFor && reported_.value_or(Kind::unknown) == Kind::unknown)
      report(
          SlotTrouble{Kind::unknown,
                      fmt::format("replication slot \"{}\" could not be checked for more than {} "
                                  "minutes: {}",
                                  slot_, kUnknownFor.count(), error.what())});
  }
  return machine_.now() + kReadEvery;
}

void SlotGuard::check() {
  const bool expected = expected_;  // before the query: the slot may be created meanwhile
  const auto server = [this] {
    const std::lock_guard lock(mutex_);
    return server_;
  }();
  // A new connection for each check: a server that shuts down in smart mode waits until all
  // sessions have ended by themselves (P13).
  const auto [view, server_major, names, cut_off_at] =
      servers_.read_slot_view(conninfo_, server, slot_, stop_);
  if (names && heard_names_) heard_names_(*names);
  note_cut_off(server, cut_off_at);
  if (!view.exists && !expected) {
    board_.update([](auto& content) { content.slot_view.reset(); });
    report(std::nullopt);
    return;
  }
  board_.update([&, &seen = view](auto& content) {
    content.slot_view = seen;
    content.slot_read_at = machine_.wall_clock();
  });
  auto trouble = slot_trouble(slot_, view, kWarnBelow, server_major);
  using Kind = SlotTrouble::Kind;
  if (trouble && (trouble->kind == Kind::invalidated || trouble->kind == Kind::unreserved ||
                  trouble->kind == Kind::running_out))
    trouble->text += why_held_;
  // Between two streams it is unused for a moment: only a longer time is reported.
  const bool inactive = trouble && trouble->kind == SlotTrouble::Kind::inactive;
  const auto now = machine_.now();
  if (!inactive)
    inactive_since_.reset();
  else if (!inactive_since_)
    inactive_since_ = now;
  if (inactive && now - *inactive_since_ < kReadEvery - 1s) trouble.reset();
  report(trouble);
}

/// A standby that replays from an archive has newer WAL now and then.
void SlotGuard::note_cut_off(const std::string& server, const std::optional<std::string>& at) {
  const std::lock_guard lock(mutex_);
  if (server != server_) return;  // expect() has named another one meanwhile
  bool same = std::exchange(cut_off_server_, server) == server;
  same = std::exchange(cut_off_at_, at) == at && same;
  board_.update([&](auto& content) {
    auto& since = content.cut_off_since;
    if (!at)
      since.reset();
    else if (!same || !since)  // expect() may have reset it
      since = machine_.wall_clock();
  });
}

/// Each kind of problem is logged once, when it starts; the status shows the latest figures.
void SlotGuard::report(const std::optional<SlotTrouble>& trouble) {
  board_.update([&](auto& content) {
    content.slot_warning = trouble ? std::optional(trouble->text) : std::nullopt;
  });
  if (trouble && trouble->kind != reported_) log_.warning("{}", trouble->text);
  if (!trouble && reported_ && expected_)
    log_.info("the problem with replication slot \"{}\" is resolved", slot_);
  reported_ = trouble ? std::optional(trouble->kind) : std::nullopt;
}

std::optional<SlotTrouble> slot_trouble(const std::string& slot, const SlotView& view,
                                        std::int64_t warn_below, int server_major) {
  using Kind = SlotTrouble::Kind;
  const auto begin = "replication slot \"" + slot + "\" ";
  if (!view.exists)
    return SlotTrouble{
        Kind::missing,
        begin + "does not exist on the monitored server: WAL is not retained for this archive"};
  if (view.wal_status == "lost" || view.invalidation_reason)
    return SlotTrouble{Kind::invalidated,
                       begin + "was invalidated (" +
                           view.invalidation_reason.value_or("wal_status lost") +
                           "): the server no longer retains WAL for this archive; drop the slot, "
                           "create it again, and check the archive for a gap. " +
                           pq::why_invalidated(view.invalidation_reason, server_major)};
  if (view.wal_status == "unreserved")
    return SlotTrouble{
        Kind::unreserved,
        begin +
            "retains more WAL than max_slot_wal_keep_size allows: the next checkpoint may remove "
            "WAL that is not archived yet; raise the setting or speed up archiving"};
  if (view.safe_wal_size && *view.safe_wal_size < warn_below) {
    const auto left = static_cast<std::uint64_t>(std::max<std::int64_t>(0, *view.safe_wal_size));
    return SlotTrouble{Kind::running_out, begin + "will be invalidated after " + format_size(left) +
                                              " more of WAL (max_slot_wal_keep_size)"};
  }
  if (!view.active)
    return SlotTrouble{Kind::inactive,
                       begin + "is not active: no receiver is connected to it at the moment"};
  return std::nullopt;
}

}  // namespace weir::receive
