// The relay's protocol is two pure machines: `EntranceState` until a client has authenticated,
// `WalsenderState` afterwards. Inputs are bytes, the time and the announced end; outputs are bytes
// and the next step. Threads and sockets only carry them, and can be replaced without a change to
// the protocol.

#include "relay/walsender_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "wal/page.h"

namespace weir::relay {

namespace {

using wire::ErrorReport;

/// A command consists of names and numbers only.
constexpr std::size_t kMostMessage = 16 * 1024;
/// Maximum size of unread answers before further commands are not read.
constexpr std::size_t kMostUnread = std::size_t{64} << 10;

/// MAX_SEND_SIZE (replication/walsender.c), of one message, which ends with a page where more
/// follow.
constexpr std::uint64_t kMostSent = 16 * wal::kPageSize;

/// The code of a walsender's errors without a code of their own (ERRCODE_INTERNAL_ERROR).
constexpr const char* kInternal = "XX000";

std::string_view text_of(const wire::ClientMessage& message) {
  const auto text = message.text();
  return text.substr(0, text.find('\0'));
}

}  // namespace

std::string_view to_string(WalsenderState::Phase phase) {
  switch (phase) {
    case WalsenderState::Phase::startup:
      return "startup";
    case WalsenderState::Phase::backup:
      return "backup";
    case WalsenderState::Phase::catchup:
      return "catchup";
    case WalsenderState::Phase::streaming:
      return "streaming";
  }
  return "";
}

void WalsenderState::greet(const std::string& user, std::uint32_t process, std::uint32_t secret) {
  wire::append_authentication_ok(output_.text());
  // libpq requires these when it selects a server (target_session_attrs); without integer_datetimes
  // pg_receivewal and pg_basebackup disconnect (GetConnection() in streamutil.c).
  for (const auto& [name, value] :
       {std::pair<std::string_view, std::string>("application_name", options_.application_name),
        {"client_encoding", "UTF8"},
        {"default_transaction_read_only", "off"},
        {"in_hot_standby", "on"},
        {"integer_datetimes", "on"},
        {"pgweir_version", PGWEIR_VERSION},  // a relay cannot be promoted
        {"server_encoding", "UTF8"},
        {"server_version", options_.cluster.server_version()},
        {"session_authorization", user},
        {"standard_conforming_strings", "on"}})
    wire::append_parameter_status(output_.text(), name, value);
  wire::append_backend_key(output_.text(), process, secret);
  wire::append_ready(output_.text());
}

void WalsenderState::on_bytes(std::span<const std::byte> bytes) {
  input_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

WalsenderState::Step WalsenderState::next(const Served& served, Now now) {
  work_off(served, now);
  if (leaving_) return Leave{*leaving_};
  switch (doing_) {
    case Doing::commands:
      return Wait{};
    case Doing::history:
      return ReadHistory{asked_history_};
    case Doing::busy:
      if (now.time < ask_again_) return Wait{ask_again_};
      doing_ = Doing::slots;
      return AskSlots{question_};
    case Doing::slots:
      return AskSlots{question_};
    case Doing::backup:
      return BeginBackup{backup_};
    case Doing::backing_up:
      return Wait{};
    case Doing::ahead:
      become_historic(served);
      if (leaving_) return Leave{*leaving_};
      if (done_receiving_ || valid_until_ || status_.sent <= served.end) {
        if (makes_slot_ && !done_receiving_ && (!valid_until_ || status_.sent < *valid_until_)) {
          ask_slots(slot_question::Use{*to_start_.slot, to_start_.start, true});
          return AskSlots{question_};
        }
        begin_stream(now);
        break;
      }
      if (now.time < ahead_until_) return Wait{ahead_until_};
      fail({kInternal,
            fmt::format("requested starting point {} is ahead of the WAL flush position of this "
                        "server {}",
                        status_.sent, served.end)});
      return next(served, now);
    case Doing::stream:
      break;
  }
  return next_of_stream(served, now);
}

/// Processes received messages, as far as possible now.
void WalsenderState::work_off(const Served& served, Now now) {
  std::size_t taken = 0;
  while (!leaving_ && doing_ != Doing::history && doing_ != Doing::slots) {
    const bool in_stream = copying_ && !done_receiving_;
    // Commands that were sent ahead wait for the end of the stream, and for the client to read the
    // answers.
    if (!in_stream && (doing_ != Doing::commands || output_.size() > kMostUnread)) break;
    const auto rest = std::as_bytes(std::span(input_)).subspan(taken);
    const auto read = wire::read_client_message(rest, kMostMessage);
    if (std::holds_alternative<wire::Incomplete>(read)) break;
    const auto* const message = std::get_if<wire::ClientMessage>(&read);
    if (message == nullptr) {
      fail_for_good(std::get<ErrorReport>(read));
      break;
    }
    taken += message->size;
    if (in_stream)
      take_in_stream(*message, now);
    else
      take_command(*message, served, now);
  }
  input_.erase(0, taken);
}

void WalsenderState::take_command(const wire::ClientMessage& message, const Served& served,
                                  Now now) {
  if (skip_to_sync_ && message.type != 'S' && message.type != 'X') return;
  switch (message.type) {
    case 'Q': {
      const auto parsed = parse_command(text_of(message));
      if (const auto* report = std::get_if<ErrorReport>(&parsed)) return fail(*report);
      return std::visit([&](const auto& command) { run(command, served, now); },
                        std::get<Command>(parsed));
    }
    case 'P':
    case 'B':
    case 'D':
    case 'C':
    case 'E':
      skip_to_sync_ = true;
      return fail({"08P01", "extended query protocol not supported in a replication connection"});
    case 'F':
      return fail({"08P01", "fastpath function calls not supported in a replication connection"});
    case 'S':
      skip_to_sync_ = false;
      return wire::append_ready(output_.text());
    case 'H':
      return;
    case 'd':
    case 'c':
    case 'f':
      return;  // of a stream that has ended with an error
    case 'X':
      return leave("the client has disconnected");
    default:
      return fail_for_good(
          {"08P01", fmt::format("invalid frontend message type {}",
                                static_cast<int>(static_cast<unsigned char>(message.type)))});
  }
}

void WalsenderState::take_in_stream(const wire::ClientMessage& message, Now now) {
  switch (message.type) {
    case 'd': {
      const auto decoded = wire::decode_from_client(message.body);
      if (const auto* error = std::get_if<Error>(&decoded)) return leave(error->what());
      if (const auto* status = std::get_if<wire::StandbyStatus>(&decoded)) {
        status_.write = status->write;
        status_.flush = status->flush;
        status_.apply = status->apply;
        ++status_.replies;
        reply_due_ = reply_due_ || status->reply_requested;
      } else {
        status_.xmins = xmins_of(std::get<wire::HotStandbyFeedback>(decoded));
        ++status_.feedbacks;
      }
      break;
    }
    case 'c':
      if (!done_sending_) wire::append_copy_done(output_.text());
      done_sending_ = done_receiving_ = true;
      break;
    case 'X':
      return leave("the client has disconnected");
    default:
      return fail_for_good(
          {"08P01", fmt::format("invalid standby message type \"{}\"", message.type)});
  }
  heard_ = now.time;
  asked_ = false;
}

// --- The stream ----------------------------------------------------------------------------------

void WalsenderState::run(const command::StartReplication& command, const Served& served, Now now) {
  makes_slot_ = false;
  if (!command.slot) return start(command, served, now);
  // Those of an earlier stream do not concern this slot.
  status_.write = status_.flush = status_.apply = {};
  // As a walsender, which acquires the slot before it checks the rest.
  to_start_ = command;
  ask_slots(slot_question::Use{*command.slot, command.start});
}

void WalsenderState::start(const command::StartReplication& command, const Served& served,
                           Now now) {
  const auto timeline = command.timeline == 0 ? served.timeline() : command.timeline;
  if (!served.history.contains(timeline))
    return fail({kInternal,
                 fmt::format("requested timeline {} is not in this server's history", timeline)});
  const auto left = served.history.end_of(timeline);
  if (left && *left < command.start)
    return fail(
        {kInternal,
         fmt::format("requested starting point {} on timeline {} is not in this server's "
                     "history",
                     command.start, timeline),
         fmt::format("This server's history forked from timeline {} at {}.", timeline, *left)});
  status_ = {.replies = status_.replies,
             .xmins = status_.xmins,
             .feedbacks = status_.feedbacks,
             .slot = command.slot};
  status_.timeline = timeline;
  status_.sent = command.start;
  valid_until_.reset();
  done_sending_ = done_receiving_ = false;
  dry_at_.reset();
  reply_due_ = false;
  become_historic(served);
  // With nothing left there is no copy at all.
  if (valid_until_ && *valid_until_ <= command.start) {
    done_sending_ = done_receiving_ = true;
    return end_stream();
  }
  const bool ahead = !valid_until_ && served.end < command.start;
  if (makes_slot_ && !ahead)
    return ask_slots(slot_question::Use{*command.slot, command.start, true});
  wire::append_copy_both(output_.text());
  copying_ = true;
  heard_ = now.time;
  asked_ = false;
  if (ahead) {
    ahead_until_ = now.time + options_.ahead_wait;
    doing_ = Doing::ahead;
    return;
  }
  begin_stream(now);
}

void WalsenderState::begin_stream(Now) {
  doing_ = Doing::stream;
  status_.phase = Phase::catchup;
}

/// The served history may have left the timeline of the stream since the last check.
void WalsenderState::become_historic(const Served& served) {
  if (valid_until_ || served.timeline() == status_.timeline) return;
  const auto left = served.history.end_of(status_.timeline);
  if (!left)
    return fail_for_good({kInternal, fmt::format("requested timeline {} is not in this server's "
                                                 "history",
                                                 status_.timeline)});
  valid_until_ = left;
  next_timeline_ = *served.history.successor_of(status_.timeline);
  dry_at_.reset();
}

WalsenderState::Step WalsenderState::next_of_stream(const Served& served, Now now) {
  become_historic(served);
  if (leaving_) return Leave{*leaving_};
  if (done_receiving_ && done_sending_) {
    end_stream();
    return next(served, now);
  }
  auto limit = valid_until_.value_or(served.end);
  if (options_.held_back && served.hold) limit = std::min(limit, *served.hold);
  if (!done_sending_ && valid_until_ && *valid_until_ <= status_.sent) {
    wire::append_copy_done(output_.text());
    done_sending_ = true;
  }
  const auto ping = next_ping(now);
  if (leaving_) return Leave{*leaving_};
  const bool dry = limit <= status_.sent || dry_at_ == limit;
  if (!done_sending_ && !dry && output_.empty()) {
    limit_ = limit;
    read_since_ = now.time;
    return ReadWal{status_.sent, limit};
  }
  if (!done_sending_ && dry && output_.empty() && !valid_until_ && limit == served.end &&
      served.breaks_off) {
    fail(*served.breaks_off);
    return next(served, now);
  }
  if (!done_sending_ && dry && output_.empty() && !valid_until_)
    status_.phase = Phase::streaming;  // and remains: it reports once that it has caught up
  return Wait{ping};
}

/// Answers requests of the client, requests a reply after silence, and disconnects it finally;
/// returns when to check again.
std::optional<WalsenderState::Time> WalsenderState::next_ping(Now now) {
  const auto say = [&](bool asks) {
    // One at a time, so that data that a client does not read does not accumulate.
    if (!output_.empty() || done_sending_) return false;
    wire::append_copy_data(output_.text(),
                           wire::encode(wire::Keepalive{status_.sent, now.clock, asks}));
    return true;
  };
  if (reply_due_ && say(false)) reply_due_ = false;
  if (now.time >= heard_ + options_.timeout) {
    // It does not read, so it gets no error message (WalSndCheckTimeOut()).
    leave("no message for " + fmt::format("{} s", options_.timeout.count() / 1000));
    return std::nullopt;
  }
  const auto ask_at = heard_ + options_.timeout / 2;
  if (!asked_ && now.time >= ask_at && say(true)) asked_ = true;
  return asked_ || now.time >= ask_at ? heard_ + options_.timeout : ask_at;
}

void WalsenderState::on_wal(WalPiece piece, Now now) {
  // Nothing was received meanwhile: a slow disk is not the client's silence.
  heard_ += now.time - read_since_;
  if (piece.empty()) {
    dry_at_ = limit_;
    return;
  }
  PGWEIR_CHECK(piece.wal.size() <= limit_ - status_.sent);
  for (auto rest = piece.wal; !rest.empty();) {
    const auto wal = rest.size() <= kMostSent
                         ? rest
                         : rest.first(kMostSent - status_.sent.byte() % wal::kPageSize);
    rest = rest.subspan(wal.size());
    wire::append_copy_data_head(output_.text(), wire::kXLogDataHead + wal.size());
    output_.text() += wire::encode_head({status_.sent, limit_, now.clock, {}});
    output_.append({wal, piece.memory});
    status_.sent = status_.sent + wal.size();
  }
}

void WalsenderState::on_no_wal(const ErrorReport& report) { fail(report); }

/// The end of a copy, or of a start that had nothing to copy: the next timeline if this one has
/// ended, and two completions, both of which libpqrcv_endstreaming() and pg_receivewal read.
void WalsenderState::end_stream() {
  copying_ = false;
  doing_ = Doing::commands;
  status_.phase = Phase::startup;
  status_.slot.reset();
  slot_errand_ = std::max(slot_errand_, SlotErrand::release);
  if (valid_until_) {
    const std::array columns = {wire::int8_column("next_tli"),
                                wire::text_column("next_tli_startpos")};
    const std::array<std::optional<std::string>, 2> values = {std::to_string(next_timeline_),
                                                              valid_until_->to_string()};
    row(columns, values);
  }
  complete("START_STREAMING");
  complete("START_REPLICATION");
  wire::append_ready(output_.text());
}

void WalsenderState::on_backup_begun() {
  doing_ = Doing::backing_up;
  status_.phase = Phase::backup;
}

void WalsenderState::on_backup_end(BackupEnd end) {
  doing_ = Doing::commands;
  status_.phase = Phase::startup;
  if (end == BackupEnd::fatal) return leave("the server of its base backup has ended it");
  if (end == BackupEnd::failed) slot_errand_ = SlotErrand::clean_up;
  wire::append_ready(output_.text());
}

void WalsenderState::on_no_backup(const ErrorReport& report) { fail(report); }

void WalsenderState::stop(const std::optional<wire::ErrorReport>& why) {
  if (leaving_) return;
  if (why) return fail_for_good(*why);
  if (doing_ == Doing::stream || doing_ == Doing::ahead) {
    wire::append_command_complete(output_.text(), "COPY 0");  // as WalSndDone() ends it
    return leave("this server stops");
  }
  fail_for_good({"57P01", "terminating connection due to administrator command"});
}

void WalsenderState::cancel() {
  const bool busy = doing_ == Doing::stream || doing_ == Doing::ahead || doing_ == Doing::busy ||
                    doing_ == Doing::backing_up;
  if (busy && !leaving_) fail({"57014", "canceling statement due to user request"});
}

void WalsenderState::evict() {
  if (leaving_) return;
  fail_for_good({"57P01", "terminating connection due to administrator command"});
}

// -------------------------------------------------------------------------------------------------

void WalsenderState::complete(std::string_view tag) {
  wire::append_command_complete(output_.text(), tag);
}

void WalsenderState::row(std::span<const wire::Column> columns,
                         std::span<const std::optional<std::string>> values) {
  wire::append_row_description(output_.text(), columns);
  wire::append_data_row(output_.text(), values);
}

void WalsenderState::fail(const ErrorReport& report) {
  wire::append_error(output_.text(), wire::Severity::error, report);
  if (!skip_to_sync_) wire::append_ready(output_.text());
  copying_ = false;
  doing_ = Doing::commands;
  status_.phase = Phase::startup;
  status_.slot.reset();
  slot_errand_ = SlotErrand::clean_up;
}

void WalsenderState::fail_for_good(const ErrorReport& report) {
  wire::append_error(output_.text(), wire::Severity::fatal, report);
  leave(report.message);
}

void WalsenderState::leave(std::string why) {
  leaving_ = std::move(why);
  input_.clear();
}

}  // namespace weir::relay
