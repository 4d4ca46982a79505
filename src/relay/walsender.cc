// `relay::Walsender` carries one session over a `Connection`, which is a socket in the program and
// a simulated standby in `tests/sim`; `Slots`, `SharedWal` and `ArchiveLook` are written against
// `Threads`. The simulation therefore runs the session, the slots with their file and the archive
// checks exactly as shipped. Listener, HBA rules and TLS are excluded.

#include "relay/walsender.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <string_view>
#include <system_error>
#include <utility>

#include "archive/history_store.h"
#include "wal/ancestor_history.h"
#include "wal/segment.h"
#include "wal/timeline_history.h"

namespace weir::relay {

namespace {

constexpr std::size_t kMostUnsentBackup = std::size_t{128} << 10;

/// The disk's error is for our log; a client only learns that there was one.
wire::ErrorReport unreadable(const Error& error) {
  return {error.kind() == ErrorKind::damage ? "XX001" : "58030", error.message()};
}

Cluster with_version(Cluster cluster, const std::string& said) {
  cluster.hear_version(said);
  return cluster;
}

}  // namespace

Walsender::Walsender(Client client, Connection& connection, const ServedThings& served)
    : client_(std::move(client)),
      connection_(connection),
      archive_(served.archive),
      cluster_(with_version(served.cluster, served.hub.version())),
      hub_(served.hub),
      slots_(served.slots),
      log_(served.log),
      trouble_(served.trouble),
      backups_(served.backups),
      waked_(hub_, [this] { connection_.wake(); }),
      state_({.cluster = cluster_,
              .application_name = client_.application_name,
              .held_back = served.clients.holds_back(client_.application_name),
              .has_backups = served.backups != nullptr}),
      place_(served.clients, {.pid = client_.process,
                              .user = client_.user,
                              .application_name = client_.application_name,
                              .client_address = client_.address,
                              .ssl = client_.ssl}),
      reader_(served.wal) {
  if (served.cancels != nullptr)
    cancel_key_.emplace(*served.cancels, wire::CancelRequest{client_.process, client_.secret},
                        [this] {
                          cancelled_ = true;
                          connection_.wake();
                        });
}

std::string Walsender::name() const {
  return fmt::format("\"{}\" ({}, user \"{}\")", client_.application_name, client_.address,
                     client_.user);
}

void Walsender::run() {
  std::string why;
  try {
    state_.output().text() = std::move(client_.greeting);
    state_.greet(client_.user, client_.process, client_.secret);
    state_.on_bytes(std::as_bytes(std::span(client_.unread)));
    why = serve();
  } catch (const Error& error) {
    trouble_.error(error);
    why = error.what();
  } catch (const std::exception& error) {  // no memory: its slot must be released all the same
    trouble_.warning(fmt::format("disconnecting client {}: {}", name(), error.what()));
    why = error.what();
  }
  place_.goes(why);
  slots_.clean_up(client_.process);
  const auto& status = state_.status();
  log_.info("client {} disconnected: {}{}", name(), why,
            status.timeline == 0
                ? std::string()
                : fmt::format("; sent up to {} on timeline {}", status.sent, status.timeline));
}

/// Serves the client until it disconnects, or is disconnected. Returns why.
std::string Walsender::serve() {
  for (;;) {
    connection_.clear_wake();  // before the state that it signals is checked
    if (hub_.stopping()) state_.stop(hub_.last_word());
    if (has_slot_ && slots_.evicted(client_.process)) state_.evict();
    if (cancelled_.exchange(false)) {
      backup_.reset();
      state_.cancel();
    }
    if (backup_) carry_backup();
    const auto served = hub_.served();
    const auto step = state_.next(*served, connection_.now());
    tell_slots();
    if (const auto* wanted = std::get_if<WalsenderState::ReadWal>(&step)) {
      // There is nothing to send. Input is read while this is being sent.
      read_wal(*wanted, *served);
      continue;
    }
    const auto moved = exchange();
    if (moved == Moved::gone) return "the connection is closed";
    tell_stream(*served);
    if (const auto* left = std::get_if<WalsenderState::Leave>(&step)) {
      connection_.send_last(state_.output().all());
      return left->why;
    }
    if (const auto* asked = std::get_if<WalsenderState::ReadHistory>(&step)) {
      send_history(asked->timeline, *served);
    } else if (const auto* slots = std::get_if<WalsenderState::AskSlots>(&step)) {
      const auto answer = slots_.answer(client_.process, slots->question);
      has_slot_ = std::holds_alternative<slot_answer::Done>(answer) &&
                  std::holds_alternative<slot_question::Use>(slots->question);
      told_flush_ = {};
      told_feedbacks_ = state_.status().feedbacks;
      state_.on_slots(answer, *served, connection_.now());
    } else if (const auto* backup = std::get_if<WalsenderState::BeginBackup>(&step)) {
      begin_backup(*backup);
    } else if (moved == Moved::nothing) {
      wait(std::get<WalsenderState::Wait>(step).until);
    }
  }
}

/// Sends and receives as much as possible without waiting. After any progress there may be a next
/// step.
Walsender::Moved Walsender::exchange() {
  auto& output = state_.output();
  const auto sent = connection_.send_parts(output.parts());
  if (!sent) return Moved::gone;
  output.drop(*sent);
  const bool all_sent = *sent > 0 && output.empty();
  if (!state_.takes_bytes()) return all_sent ? Moved::something : Moved::nothing;
  std::array<char, 16 * 1024> bytes;
  const auto count = connection_.receive_now(bytes);
  if (!count) return Moved::gone;
  state_.on_bytes(std::as_bytes(std::span(bytes).first(*count)));
  return all_sent || *count > 0 ? Moved::something : Moved::nothing;
}

void Walsender::wait(std::optional<WalsenderState::Time> until) {
  reader_.pause();
  const bool sends = !state_.output().empty() || connection_.has_unsent();
  connection_.wait(state_.takes_bytes(), sends, until);
}

void Walsender::read_wal(const WalsenderState::ReadWal& step, const Served& served) {
  try {
    auto read = reader_.read(served.history, step.from, step.limit);
    if (read.passed_over) trouble_.error(*read.passed_over);
    if (!read.trouble) return state_.on_wal(std::move(read.piece), connection_.now());
    trouble_.error(read.trouble->error);
    state_.on_no_wal(read.trouble->report);
  } catch (const Error& error) {
    trouble_.error(error);
    state_.on_no_wal(unreadable(error));
  }
  reader_.leave();
}

void Walsender::send_history(wal::TimelineId timeline, const Served& served) {
  try {
    const auto content = archive::read_history(archive_, timeline);
    // A standby keeps what it gets, and is ended by a file that it cannot read, at each start
    // (readTimeLineHistory() in access/transam/timeline.c).
    if (content && wal::TimelineHistory::parse(timeline, *content))
      return state_.on_history(content);
    // It fetches the history of each timeline up to the newest, and cannot stream if one is
    // missing. An archive that began on a later timeline may lack those of its ancestors, whose WAL
    // its first segment begins with.
    if (const auto newest = archive::read_history(archive_, served.timeline()))
      if (const auto older = wal::ancestor_history(*newest, timeline))
        return state_.on_history(older);
    if (content)
      throw Error(ErrorKind::damage, "a timeline's history file is broken")
          .with("file", wal::history_name(timeline));
    state_.on_history(std::nullopt);
  } catch (const Error& error) {
    trouble_.error(error);
    state_.on_no_wal(unreadable(error));
  }
}

void Walsender::begin_backup(const WalsenderState::BeginBackup& step) {
  try {
    backup_ = std::make_unique<BaseBackup>(*backups_, step.command, name(),
                                           [this] { connection_.wake(); });
  } catch (const std::system_error& error) {
    return state_.on_no_backup({"53000", "could not start a thread", error.what()});
  }
  state_.on_backup_begun();
  connection_.wake();
}

/// Passes on what the backup has delivered, and not more than can be sent soon.
void Walsender::carry_backup() {
  using Kind = BaseBackup::End::Kind;
  if (state_.output().size() >= kMostUnsentBackup) return;
  const auto end = backup_->take(state_.output().text());
  if (!end) return;
  backup_.reset();
  if (end->kind == Kind::broken) return state_.on_no_backup(end->report);
  state_.on_backup_end(end->kind == Kind::done     ? WalsenderState::BackupEnd::done
                       : end->kind == Kind::failed ? WalsenderState::BackupEnd::failed
                                                   : WalsenderState::BackupEnd::fatal);
}

/// Reports the client's replies so far to the slot that it used until now.
void Walsender::tell_slots() {
  const auto flush = state_.status().flush;
  if (has_slot_ && std::exchange(told_flush_, flush) != flush)
    slots_.on_flush(client_.process, flush);
  const auto feedbacks = state_.status().feedbacks;
  if (has_slot_ && std::exchange(told_feedbacks_, feedbacks) != feedbacks)
    slot_feedbacks_ = slots_.on_feedback(client_.process, state_.status().xmins) ? feedbacks : 0;
  switch (state_.take_slot_errand()) {
    case WalsenderState::SlotErrand::nothing:
      return;
    case WalsenderState::SlotErrand::release:
      if (has_slot_) slots_.release(client_.process);
      break;
    case WalsenderState::SlotErrand::clean_up:
      slots_.clean_up(client_.process);
      break;
  }
  has_slot_ = false;
}

void Walsender::tell_stream(const Served& served) {
  const auto& status = state_.status();
  if (told_status_ != status) {
    told_status_ = status;
    auto own = status;
    // The values of its slot count, once they are in the file, and also after the stream.
    if (has_slot_ || status.feedbacks == slot_feedbacks_) own.xmins = {};
    place_.tell(own, served.history);
  }
  if (std::exchange(told_, status.phase) == status.phase) return;
  if (status.phase == WalsenderState::Phase::startup) return reader_.leave();
  if (status.phase == WalsenderState::Phase::backup)
    return log_.info("client {}: requests a base backup", name());
  log_.info("client {}: {} on timeline {} at {}", name(), to_string(status.phase), status.timeline,
            status.sent);
}

}  // namespace weir::relay
