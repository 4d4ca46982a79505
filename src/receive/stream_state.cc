// The stream learns the store's position from a shared value (`receive::StoreWords`, like the
// feedback of downstream clients): the uploading thread sets it, and the thread that sends the next
// status reads it. `StreamState` reports the lesser of that and of the durable position; nothing
// else in the engine refers to stores. `event::DurableEnd` still determines the served WAL;
// `event::Confirmed` applies to slots on other hosts. A flush position of 0/0 moves no slot
// (`ProcessStandbyReplyMessage()` in walsender.c), is not a candidate for synchronous commits
// (`SyncRepGetCandidateStandbys()`), and lets a server shut down by the write position
// (`WalSndDone()`). pgweir therefore reports it when the store would delay a commit or a shutdown.

#include "receive/stream_state.h"

#include <algorithm>

#include "base/error.h"
#include "wal/page.h"

namespace weir::receive {

namespace {

/// A server that has WAL beyond the end position sends it within this time.
constexpr std::chrono::milliseconds kQuietAtEndpos{1'000};
constexpr std::chrono::seconds kDropsFor{1};
/// wal_receiver_status_interval, at which a walreceiver repeats it (XLogWalRcvSendHSFeedback()).
constexpr std::chrono::seconds kRepeatsNeeds{10};

}  // namespace

StreamState::StreamState(const Options& options, wal::TimelineId timeline, wal::Lsn start, Time now)
    : options_(options),
      timeline_(timeline),
      start_(start),
      received_(start),
      write_(start),
      sync_begun_(start),
      flush_(start),
      server_end_(start),
      last_message_(now),
      silent_since_(now),
      last_status_(now),
      shutdown_sign_(options.soon_again) {
  // The first status is sent at once: the server shows us in pg_stat_replication, and a slot
  // without restart_lsn starts to reserve WAL.
  reply_wanted_ = true;
  if (options_.releases_xmin) downstream_.needs.emplace();
  taken_end_ = start;
  check_endpos(now);
}

void StreamState::check_endpos(Time now) {
  last_wal_ = now;
  if (!options_.endpos) return;
  if (options_.endpos_inclusive ? received_ > *options_.endpos : received_ >= *options_.endpos)
    stopping_ = true;
}

/// Everything before an inclusive endpos was received, but not the byte at it.
bool StreamState::waits_at_endpos() const {
  return options_.endpos && options_.endpos_inclusive && received_ == *options_.endpos &&
         !stopping_;
}

void StreamState::on_message(Time now) {
  last_message_ = silent_since_ = now;
  heard_anything_ = true;
  answered_ = answered_ || asked_for_life_;
  asked_for_life_ = false;
}

void StreamState::on_wal(const wire::XLogData& data, Time now) {
  if (data.start != received_)
    throw Error(ErrorKind::protocol, "the server sent WAL out of order")
        .with("expected", received_)
        .with("got", data.start);
  received_ = taken_end_ = received_ + data.wal.size();
  server_end_ = std::max({server_end_, data.server_end, received_});
  server_clock_ = data.server_clock;
  on_message(now);
  leaves_without_store_ = false;  // it has more to send, so it is not shutting down
  heard_wal_ = true;
  asked_for_more_ = false;
  check_endpos(now);
}

void StreamState::on_keepalive(const wire::Keepalive& keepalive, Time now) {
  server_end_ = std::max(server_end_, keepalive.server_end);
  server_clock_ = keepalive.server_clock;
  on_message(now);
  if (keepalive.reply_requested) {
    shutdown_sign_.on_request(now);
    // A primary that shuts down asks until we have confirmed its last byte, so all received WAL is
    // flushed now, regardless of the flush policy. The reply itself does not wait for the disk.
    reply_wanted_ = true;
    flush_wanted_ = true;
  }
  if (asked_for_more_ && waits_at_endpos() && keepalive.server_end <= received_) stopping_ = true;
}

void StreamState::on_listening(Time now) {
  if (deaf_) silent_since_ = now;
  deaf_ = false;
}

void StreamState::begin_discarding(Time now) {
  on_listening(now);
  discarding_ = true;
}

void StreamState::on_dropped(const wire::XLogData& data, Time now) {
  PGWEIR_CHECK(discarding_);
  if (data.start != taken_end_)
    throw Error(ErrorKind::protocol, "the server sent WAL out of order")
        .with("expected", taken_end_)
        .with("got", data.start);
  taken_end_ = taken_end_ + data.wal.size();
  server_end_ = std::max({server_end_, data.server_end, taken_end_});
  server_clock_ = data.server_clock;
  on_message(now);
  if (now >= drops_since_ + kDropsFor) {
    drops_since_ = now;
    dropped_lately_ = 0;
  }
  dropped_lately_ += data.wal.size();
}

Time StreamState::drops_at() const {
  return dropped_lately_ < kMostDropped ? Time::min() : drops_since_ + kDropsFor;
}

bool StreamState::server_leaves(Time now) const { return shutdown_sign_.shown(now); }

void StreamState::on_end_of_stream() {
  stopping_ = true;
  ended_ = true;
}

void StreamState::on_written(wal::Lsn end, Time now, wal::Lsn buffered_end) {
  if (given_up_) return;
  PGWEIR_CHECK(write_ <= end && end <= received_);
  if (write_ == sync_begun_ && end > write_) oldest_unsynced_ = now;
  write_ = end;
  buffered_end_ = std::max(buffered_end_, buffered_end);
}

void StreamState::drop_unwritten_behind(wal::Lsn end) {
  PGWEIR_CHECK(write_ <= end && end <= received_);
  received_ = end;
}

StreamState::Ticket StreamState::on_sync_started(wal::Lsn end) {
  PGWEIR_CHECK(sync_begun_ <= end && end <= write_);
  sync_begun_ = end;
  if (sync_begun_ == write_) flush_wanted_ = false;
  syncs_.push_back({next_ticket_, end, false});
  return next_ticket_++;
}

void StreamState::on_sync_done(Ticket ticket) {
  const auto sync = std::find_if(syncs_.begin(), syncs_.end(),
                                 [&](const Sync& each) { return each.ticket == ticket; });
  PGWEIR_CHECK(sync != syncs_.end() && !sync->done);
  sync->done = true;
  while (!syncs_.empty() && syncs_.front().done) {
    PGWEIR_CHECK(flush_ <= syncs_.front().end && syncs_.front().end <= write_);
    flush_ = syncs_.front().end;
    syncs_.pop_front();
  }
}

bool StreamState::is_oldest(Ticket ticket) const {
  return !syncs_.empty() && syncs_.front().ticket == ticket;
}

void StreamState::on_sync_given_up() {
  received_ = write_ = sync_begun_ = buffered_end_ = flush_;
  syncs_.clear();
  given_up_ = true;
  stopping_ = true;
}

void StreamState::on_store(const StoreWord& word) {
  commits_would_wait_ = word.commits_would_wait;
  // (A position on another timeline does not apply to this one's WAL.)
  if (word.timeline == timeline_) stored_ = std::max(stored_, word.stored);
}

/// The server is shutting down, all of its WAL is durable here, and it only waits for the store.
bool StreamState::waits_for_store_alone(Time now) const {
  return options_.confirm_stored && server_leaves(now) && !discarding_ && flush_ == received_ &&
         confirmed() < flush_;
}

void StreamState::request_stop() { stopping_ = true; }

std::optional<Time> StreamState::sync_due_at() const {
  // WAL buffered in memory for speed, of which no more will arrive.
  const bool buffered = buffered_end_ > sync_begun_ && !catching_up();
  return receive::sync_due_at(options_.flush,
                              {.unsynced_bytes = write_ - sync_begun_,
                               .oldest_unsynced = oldest_unsynced_,
                               .behind_bytes = server_end_ - received_,
                               .segment_complete = piece_complete(),
                               .urgent = flush_wanted_ || stopping_ || discarding_ || buffered,
                               .catch_up_bytes = options_.catch_up_bytes});
}

std::uint64_t StreamState::piece_bytes() const {
  return archive::piece_bytes(options_.segment_size, options_.largest_buffered);
}

bool StreamState::piece_complete() const {
  const bool in_memory = buffered_end_ > sync_begun_;
  const auto begun = in_memory ? wal::Lsn(write_.byte() - write_.byte() % piece_bytes())
                               : options_.segment_size.start_of(write_);
  return begun > sync_begun_;
}

bool StreamState::may_read() const {
  const bool in_memory = buffered_end_ > flush_;
  const auto segment = options_.segment_size.bytes();
  auto limit =
      options_.unsynced_limit.value_or(unsynced_limit(in_memory ? piece_bytes() : segment));
  // WAL that is not buffered can be synced only once its segment is full.
  if (!in_memory) limit = std::max(limit, segment + 1);
  return !stopping_ && !discarding_ && received_ - flush_ < limit;
}

bool StreamState::next_piece_is_there() const {
  const auto piece = piece_bytes();
  const auto begun = (write_.byte() + piece - 1) / piece;
  return server_end_.byte() / piece > begun;
}

/// The first page header of a segment identifies the cluster. With less of it the archive's cluster
/// would be unknown, so that after a restart another cluster's WAL might replace acknowledged WAL.
/// No record starts before its end, so nothing waits for those bytes.
wal::Lsn StreamState::acknowledged() const {
  const auto end = confirmed();
  const auto offset = options_.segment_size.offset(end);
  return offset < wal::kLongHeaderSize ? options_.segment_size.start_of(end) : end;
}

/// The position up to which the server does not have to retain WAL.
wal::Lsn StreamState::confirmed() const {
  return options_.confirm_stored ? std::min(flush_, stored_) : flush_;
}

/// A position on another timeline does not apply: after the switchpoint this one has different WAL
/// there. A client that follows the switch reports again.
wal::Lsn StreamState::applied() const {
  switch (options_.apply) {
    case ApplyPosition::none:
      break;
    case ApplyPosition::flush:
      return acknowledged();
    case ApplyPosition::downstream:
      if (downstream_.timeline == timeline_) return std::min(downstream_.applied, acknowledged());
      break;
  }
  return {};
}

wire::StandbyStatus StreamState::positions() const {
  // The server's commits never wait for a standby without a flush position (SyncRepReleaseWaiters()
  // in syncrep.c), so the write position alone is informational.
  const bool before_slot = acknowledged() < options_.slot_position;
  const bool silent =
      before_slot || leaves_without_store_ || (options_.confirm_stored && commits_would_wait_);
  const bool report_flush = options_.report_flush && !silent;
  const auto apply = silent ? wal::Lsn() : applied();
  const auto flush = report_flush ? acknowledged() : wal::Lsn();
  // A commit may wait for the write position (remote_write): then the kernel must have it. An
  // earlier report stays valid.
  const auto write = std::max(flush_ >= buffered_end_ ? write_ : flush_,
                              reported_ ? reported_->write : wal::Lsn());
  return {.write = write, .flush = flush, .apply = apply, .reply_requested = false};
}

std::optional<wire::StandbyStatus> StreamState::take_status(Time now) {
  if (ended_) return std::nullopt;
  // If it asked repeatedly and continues anyway, positions are reported again: otherwise its slot
  // would never advance.
  if (waits_for_store_alone(now))
    leaves_without_store_ = true;
  else if (!server_leaves(now))
    leaves_without_store_ = false;
  auto status = positions();
  // A commit may wait for the write position alone (remote_write). If a sync is about to follow,
  // its report includes it; otherwise it is reported separately, once there is nothing more to
  // read.
  const bool flush_moved = !reported_ || reported_->flush != status.flush;
  const bool write_moved = !reported_ || reported_->write != status.write;
  const bool write_alone =
      write_moved && options_.flush.mode != FlushPolicy::Mode::continuous && server_end_ == write_;
  // A commit may wait for that alone (remote_apply).
  const bool apply_moved = reported_ && reported_->apply != status.apply;
  const bool due =
      reply_wanted_ || flush_moved || apply_moved || write_alone || now >= next_status_at();
  if (!due) return std::nullopt;

  if (!asked_for_life_ && !deaf_ && now >= silent_since_ + asks_for_life_after()) {
    status.reply_requested = true;
    asked_for_life_ = true;
    asked_at_ = now;
  }
  if (waits_at_endpos() && !asked_for_more_ && now >= last_wal_ + kQuietAtEndpos) {
    status.reply_requested = true;
    asked_for_more_ = true;
  }
  reply_wanted_ = false;
  last_status_ = now;
  reported_ = positions();
  if (now >= repeat_needs_at_) {
    repeat_needs_at_ = now + kRepeatsNeeds;
    if (reported_needs_ != wire::HotStandbyFeedback()) reported_needs_.reset();
  }
  return status;
}

/// What has not changed is repeated with a later status. A standby upstream may have replayed less
/// than those downstream, and ignores transactions that it does not know yet
/// (TransactionIdInRecentPast() in replication/walsender.c).
std::optional<wire::HotStandbyFeedback> StreamState::take_feedback() {
  if (ended_ || !downstream_.needs || reported_needs_ == downstream_.needs) return std::nullopt;
  reported_needs_ = downstream_.needs;
  return reported_needs_;
}

Time StreamState::next_status_at() const {
  if (ended_) return Time::max();
  auto regular = last_status_ + options_.status_interval;
  if (waits_at_endpos() && !asked_for_more_)
    regular = std::min(regular, last_wal_ + kQuietAtEndpos);
  if (deaf_) return regular;
  // The maximum wait for the reply.
  if (asked_for_life_) return std::min(regular, silent_since_ + options_.silence_limit);
  return std::min(regular, std::max(last_status_ + std::chrono::milliseconds(1),
                                    silent_since_ + asks_for_life_after()));
}

bool StreamState::silent_for_too_long(Time now) const {
  return !ended_ && !deaf_ && now >= silent_since_ + options_.silence_limit;
}

std::chrono::milliseconds StreamState::silent_for(Time now) const {
  if (ended_ || deaf_ || now < silent_since_) return {};
  const auto asked = asked_for_life_ ? std::max(asked_at_, silent_since_) : now;
  const auto unasked = std::min<Time::duration>(asked - silent_since_, asks_for_life_after());
  return std::chrono::duration_cast<std::chrono::milliseconds>(unasked + (now - asked));
}

std::chrono::milliseconds StreamState::idle_for(Time now) const {
  if (ended_ || deaf_ || stopping_ || discarding_ || flush_ != received_ || now < last_wal_)
    return {};
  return std::chrono::duration_cast<std::chrono::milliseconds>(now - last_wal_);
}

std::chrono::milliseconds StreamState::asks_for_life_after() const {
  // An idle server sends nothing by itself for half its wal_sender_timeout, but status must soon
  // know that messages arrive: until the first one, the outage lasts (StatusBoard::view()).
  constexpr std::chrono::milliseconds kFirst{2'000};
  const auto half = options_.silence_limit / 2;
  const auto most = heard_anything_ ? half : std::min(half, kFirst);
  return std::min(options_.asks_for_life_after.value_or(most), most);
}

StreamSnapshot StreamState::snapshot() const {
  return {.timeline = timeline_,
          .start = start_,
          .write = write_,
          .flush = durable(),
          .archived_bytes = flush_ - start_,
          .confirmed = options_.confirm_stored ? std::optional(positions().flush) : std::nullopt,
          .server_end = heard_wal_ ? server_end_ : std::max(server_end_, options_.server_end),
          .server_clock = server_clock_,
          .last_message = last_message_,
          .heard = heard_anything_};
}

bool StreamState::finished() const {
  if (!(stopping_ || discarding_) || flush_ != received_ || !syncs_.empty()) return false;
  return ended_ || (reported_ && reported_->flush == positions().flush && !reply_wanted_);
}

std::uint64_t unsynced_limit(std::uint64_t piece_bytes) {
  constexpr std::uint64_t kLeast = 64 * 1024 * 1024;
  return std::max(kLeast, 3 * piece_bytes);
}

}  // namespace weir::receive
