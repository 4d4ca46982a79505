#include "relay/session.h"

#include <fmt/format.h>
#include <poll.h>

#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "archive/history_store.h"
#include "net/stream.h"
#include "net/wait.h"
#include "relay/checked_wal.h"
#include "relay/walsender_state.h"

namespace weir::relay {

namespace {

using namespace std::chrono_literals;

/// The last words to somebody who may not read them.
constexpr auto kLastWords = 2s;

constexpr std::size_t kMostUnsentBackup = std::size_t{128} << 10;

/// Microseconds since 2000-01-01 UTC.
std::int64_t server_clock() {
  constexpr auto kEpoch = std::chrono::sys_days(std::chrono::year(2000) / 1 / 1);
  return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::system_clock::now() -
                                                               kEpoch)
      .count();
}

/// What the disk says is for our log; a client is told that there was something.
wire::ErrorReport unreadable(const Error& error) {
  return {error.kind() == ErrorKind::damage ? "XX001" : "58030", error.message()};
}

Cluster with_version(Cluster cluster, const std::string& said) {
  cluster.hear_version(said);
  return cluster;
}

class Session {
 public:
  Session(Client client, io::Shelf& archive, const Cluster& cluster, Hub& hub, Slots& slots,
          Clients& clients, Cancels& cancels, BackupSource* backups, Log& log, SeldomLog& trouble)
      : client_(std::move(client)),
        archive_(archive),
        cluster_(with_version(cluster, hub.version())),
        hub_(hub),
        slots_(slots),
        backups_(backups),
        log_(log),
        trouble_(trouble),
        guest_(hub, wake_),
        cancel_key_(cancels, {client_.process, client_.secret},
                    [this] {
                      cancelled_ = true;
                      wake_.raise();
                    }),
        state_({.cluster = cluster_,
                .application_name = client_.application_name,
                .held_back = clients.holds_back(client_.application_name),
                .has_backups = backups != nullptr}),
        place_(clients, {.pid = client_.process,
                         .user = client_.user,
                         .application_name = client_.application_name,
                         .client_address = client_.address,
                         .ssl = client_.ssl}) {}

  void run();

 private:
  std::string serve();
  enum class Moved { nothing, something, gone };
  Moved exchange();
  void wait(std::optional<WalsenderState::Time> until);
  void read_wal(const WalsenderState::ReadWal& step, const Served& served);
  void send_history(wal::TimelineId timeline);
  void tell_stream(const Served& served);
  void tell_slots();
  void begin_backup(const WalsenderState::BeginBackup& step);
  void carry_backup();
  [[nodiscard]] static WalsenderState::Now now() {
    return {std::chrono::steady_clock::now(), server_clock()};
  }
  [[nodiscard]] std::string name() const {
    return fmt::format("\"{}\" ({}, user \"{}\")", client_.application_name, client_.address,
                       client_.user);
  }

  Client client_;
  io::Shelf& archive_;
  const Cluster cluster_;
  Hub& hub_;
  Slots& slots_;
  BackupSource* const backups_;
  Log& log_;
  SeldomLog& trouble_;
  net::Wake wake_;
  Hub::Guest guest_;
  std::atomic<bool> cancelled_ = false;
  const Cancels::Session cancel_key_;
  WalsenderState state_;
  Clients::Guest place_;
  WalsenderState::Status told_status_;
  std::optional<CheckedWal> reader_;
  std::unique_ptr<BaseBackup> backup_;  ///< that the client gets
  bool has_slot_ = false;
  wal::Lsn told_flush_;               ///< to the slot
  std::uint64_t told_feedbacks_ = 0;  ///< likewise
  WalsenderState::Phase told_ = WalsenderState::Phase::startup;
};

void Session::run() {
  std::string why;
  try {
    state_.output() = std::move(client_.greeting);
    state_.greet(client_.user, client_.process, client_.secret);
    state_.on_bytes(std::as_bytes(std::span(client_.unread)));
    why = serve();
  } catch (const Error& error) {
    trouble_.error(error);
    why = error.what();
  }
  place_.goes(why);
  slots_.clean_up(client_.process);
  const auto& status = state_.status();
  log_.info("client {} has gone: {}{}", name(), why,
            status.timeline == 0
                ? std::string()
                : fmt::format("; sent up to {} on timeline {}", status.sent, status.timeline));
}

/// Until the client goes, or is left. Returns why.
std::string Session::serve() {
  for (;;) {
    wake_.clear();  // before what it stands for is looked at
    if (hub_.stopping()) state_.stop(hub_.last_word());
    if (has_slot_ && slots_.evicted(client_.process)) state_.evict();
    if (cancelled_.exchange(false)) {
      backup_.reset();
      state_.cancel();
    }
    if (backup_) carry_backup();
    const auto served = hub_.served();
    const auto step = state_.next(*served, now());
    tell_slots();
    const auto moved = exchange();
    if (moved == Moved::gone) return "the connection is closed";
    tell_stream(*served);
    if (const auto* left = std::get_if<WalsenderState::Leave>(&step)) {
      static_cast<void>(net::send_all(*client_.stream, state_.output(),
                                      std::chrono::steady_clock::now() + kLastWords));
      return left->why;
    }
    if (const auto* asked = std::get_if<WalsenderState::ReadHistory>(&step)) {
      send_history(asked->timeline);
    } else if (const auto* slots = std::get_if<WalsenderState::AskSlots>(&step)) {
      const auto answer = slots_.answer(client_.process, slots->question);
      has_slot_ = std::holds_alternative<slot_answer::Done>(answer) &&
                  std::holds_alternative<slot_question::Use>(slots->question);
      told_flush_ = {};
      told_feedbacks_ = 0;
      state_.on_slots(answer, *served, now());
    } else if (const auto* wanted = std::get_if<WalsenderState::ReadWal>(&step)) {
      read_wal(*wanted, *served);
    } else if (const auto* backup = std::get_if<WalsenderState::BeginBackup>(&step)) {
      begin_backup(*backup);
    } else if (moved == Moved::nothing) {
      wait(std::get<WalsenderState::Wait>(step).until);
    }
  }
}

/// What can be sent and read at once. If there was something, there may be a next step by now.
Session::Moved Session::exchange() {
  auto& output = state_.output();
  const auto sent = client_.stream->send_now(output);
  if (!sent) return Moved::gone;
  output.erase(0, *sent);
  const bool all_sent = *sent > 0 && output.empty();
  if (!state_.takes_bytes()) return all_sent ? Moved::something : Moved::nothing;
  std::array<char, 16 * 1024> bytes;
  const auto count = client_.stream->receive_now(bytes);
  if (!count) return Moved::gone;
  state_.on_bytes(std::as_bytes(std::span(bytes).first(*count)));
  return all_sent || *count > 0 ? Moved::something : Moved::nothing;
}

void Session::wait(std::optional<WalsenderState::Time> until) {
  const bool sends = !state_.output().empty() || client_.stream->has_unsent();
  const auto events = (state_.takes_bytes() ? POLLIN : 0) | (sends ? POLLOUT : 0);
  pollfd polls[] = {{client_.stream->fd(), static_cast<short>(events), 0}, {wake_.fd(), POLLIN, 0}};
  static_cast<void>(::poll(polls, 2, until ? net::milliseconds_until(*until) : -1));
}

void Session::read_wal(const WalsenderState::ReadWal& step, const Served& served) {
  try {
    if (!reader_ || reader_->position() != step.from || reader_->history() != served.history)
      reader_.emplace(archive_, cluster_, served.history, step.from);
    const auto read = reader_->read(step.limit);
    if (!read.trouble) return state_.on_wal(read.wal, now());
    trouble_.error(read.trouble->error);
    state_.on_no_wal(read.trouble->report);
  } catch (const Error& error) {
    trouble_.error(error);
    state_.on_no_wal(unreadable(error));
  }
  reader_.reset();
}

void Session::send_history(wal::TimelineId timeline) {
  try {
    state_.on_history(archive::read_history(archive_, timeline));
  } catch (const Error& error) {
    trouble_.error(error);
    state_.on_no_wal(unreadable(error));
  }
}

void Session::begin_backup(const WalsenderState::BeginBackup& step) {
  backup_ =
      std::make_unique<BaseBackup>(*backups_, step.command, name(), [this] { wake_.raise(); });
  state_.on_backup_begun();
  wake_.raise();
}

/// What has come of it, and not more than can be sent soon.
void Session::carry_backup() {
  using Kind = BaseBackup::End::Kind;
  if (state_.output().size() >= kMostUnsentBackup) return;
  const auto end = backup_->take(state_.output());
  if (!end) return;
  backup_.reset();
  if (end->kind == Kind::broken) return state_.on_no_backup(end->report);
  state_.on_backup_end(end->kind == Kind::done     ? WalsenderState::BackupEnd::done
                       : end->kind == Kind::failed ? WalsenderState::BackupEnd::failed
                                                   : WalsenderState::BackupEnd::fatal);
}

/// What the client said by now counts for the slot that it used until now.
void Session::tell_slots() {
  const auto flush = state_.status().flush;
  if (has_slot_ && std::exchange(told_flush_, flush) != flush)
    slots_.on_flush(client_.process, flush);
  const auto feedbacks = state_.status().feedbacks;
  if (has_slot_ && std::exchange(told_feedbacks_, feedbacks) != feedbacks)
    slots_.on_feedback(client_.process, state_.status().xmins);
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

void Session::tell_stream(const Served& served) {
  const auto& status = state_.status();
  if (told_status_ != status) {
    told_status_ = status;
    auto own = status;
    if (has_slot_) own.xmins = {};  // what its slot holds counts
    place_.tell(own, served.history);
  }
  if (std::exchange(told_, status.phase) == status.phase) return;
  if (status.phase == WalsenderState::Phase::startup) return;
  if (status.phase == WalsenderState::Phase::backup)
    return log_.info("client {}: wants a base backup", name());
  log_.info("client {}: {} on timeline {} at {}", name(), to_string(status.phase), status.timeline,
            status.sent);
}

}  // namespace

void serve_client(Client client, io::Shelf& archive, const Cluster& cluster, Hub& hub, Slots& slots,
                  Clients& clients, Cancels& cancels, BackupSource* backups, Log& log,
                  SeldomLog& trouble) {
  Session(std::move(client), archive, cluster, hub, slots, clients, cancels, backups, log, trouble)
      .run();
}

}  // namespace weir::relay
