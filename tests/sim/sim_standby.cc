#include "sim_standby.h"

#include <algorithm>

#include "unit/relay/client_script.h"

namespace weir::sim {

namespace {

using namespace std::chrono_literals;
using wal::Lsn;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace

void SimStandby::connect() {
  connected_ = true;
  doing_ = Doing::greeting;
  heard_.clear();
  says_.clear();
  next_timeline_.reset();
  connection_end_ = Lsn();
  failed_ = false;
  story_.tell("{} connects", name_);
}

std::size_t SimStandby::take(std::string_view bytes) {
  if (!reads()) return 0;
  const auto count = std::min<std::size_t>(bytes.size(), random_.any_size(300'000));
  heard_.append(bytes.substr(0, count));
  std::size_t used = 0;
  while (connected_) {
    const auto rest = bytes_of(heard_).subspan(used);
    const auto read = wire::read_client_message(rest, std::size_t{1} << 30);
    const auto* const message = std::get_if<wire::ClientMessage>(&read);
    if (message == nullptr) break;
    used += message->size;
    hear(message->type, message->text());
  }
  heard_.erase(0, used);
  return count;
}

bool SimStandby::may_tell(std::uint64_t told) {
  if (!has_slot_) return true;
  xmin_told_ = xmin_told_ || (told >= first_xmin_ && told < first_xmin_ + 1000);
  return !xmin_told_ || (told != 0 && told <= said_xmin_);
}

std::string SimStandby::say(std::size_t most) {
  const auto count = std::min<std::size_t>({most, says_.size(), random_.any_size(2000)});
  auto said = says_.substr(0, count);
  says_.erase(0, count);
  return said;
}

void SimStandby::tick(bool quiet) {
  if (!connected_) return;
  if (!quiet) {
    if (random_.one_in(300)) {
      story_.tell("{} breaks off", name_);
      return disconnect();
    }
    if (random_.one_in(200))
      reads_again_ = story_.now + std::chrono::milliseconds(random_.any_size(5000));
  }
  if (doing_ != Doing::stream) return;
  if (random_.one_in(12)) report(random_.one_in(4));
  if (random_.one_in(30)) {
    next_xmin_ = std::min(next_xmin_ + random_.below(20), first_xmin_ + 999);
    said_xmin_ = next_xmin_;
    says_ += relay::say('d', wire::encode(relay::feedback_of({next_xmin_, 0}), 0));
  }
  if (!quiet && random_.one_in(400)) {
    says_ += relay::say('c', "");
    doing_ = Doing::ending;
  }
}

void SimStandby::report(bool reply_requested) {
  flushed_ = std::max(
      flushed_, random_.coin() ? position_ : std::max(flushed_, kSegment.start_of(position_)));
  says_ += relay::say(
      'd', wire::encode(wire::StandbyStatus{position_, flushed_, flushed_, reply_requested}, 0));
}

void SimStandby::ask(const std::string& command, Doing doing) {
  doing_ = doing;
  row_seen_ = failed_ = false;
  says_ += relay::query(command);
}

/// He has to be made anew from a base backup.
void SimStandby::begin_anew() {
  position_ = flushed_ = sent_ = Lsn();
  timeline_ = 0;
  slot_made_ = false;  // it is another standby, which has to find out what the slot reserves
}

/// Without a slot anything may have been pruned; and what was never archived cannot be had.
bool SimStandby::may_be_missing(Lsn from) const {
  if (!slot_made_) return true;
  // (One of which nothing was durable but its name may begin anew, somewhere else.)
  const auto way = ledger_.way();
  if (!way || from < way->begin || timeline_ < way->first) return true;
  return std::any_of(ledger_.told_holes().begin(), ledger_.told_holes().end(),
                     [&](const auto& hole) { return hole.end > from; });
}

void SimStandby::hear(char type, std::string_view body) {
  switch (type) {
    case 'D':
      return hear_row(body);
    case 'E':
      return hear_error(body);
    case 'd':
      return hear_stream(body);
    case 'W':
      at_ = kSegment.start_of(position_);
      doing_ = Doing::stream;
      story_.tell("{} streams timeline {} from {}", name_, timeline_, at_);
      return;
    case 'c':  // the end of the timeline
      if (doing_ == Doing::stream) says_ += relay::say('c', "");
      doing_ = Doing::ending;
      return;
    case 'Z':
      return next_command();
    default:
      return;
  }
}

/// What was asked is answered.
void SimStandby::next_command() {
  switch (doing_) {
    case Doing::greeting:
      return ask("IDENTIFY_SYSTEM", Doing::identify);
    case Doing::identify:
    case Doing::history: {
      if (failed_) return disconnect();
      if (!position_.valid()) {
        // A base backup of this moment, or an older one.
        timeline_ = announced_timeline_;
        position_ = flushed_ = kSegment.start_of(announced_end_);
        const auto way = ledger_.way();
        if (!has_slot_ && way && way->last == timeline_ && random_.coin()) {
          position_ = flushed_ = std::min(position_, kSegment.start_of(way->begin));
          timeline_ = way->first;
        }
        next_history_ = timeline_;
      }
      if (++next_history_ <= announced_timeline_)
        return ask(fmt::format("TIMELINE_HISTORY {}", next_history_), Doing::history);
      if (has_slot_ && !slot_made_)
        return ask(fmt::format("CREATE_REPLICATION_SLOT \"{}\" PHYSICAL {}", name_,
                               lineage_.server_major() >= 15 ? "(RESERVE_WAL)" : "RESERVE_WAL"),
                   Doing::make_slot);
      return ask_to_start();
    }
    case Doing::make_slot:
      if (failed_) return disconnect();
      return ask(fmt::format("READ_REPLICATION_SLOT {}", name_), Doing::read_slot);
    case Doing::read_slot:
      if (failed_ || !slot_made_) return disconnect();
      return ask_to_start();
    case Doing::start:
    case Doing::stream:
    case Doing::ending:
      if (next_timeline_) {
        const auto [timeline, from] = *std::exchange(next_timeline_, std::nullopt);
        if (position_ > from) {
          story_.tell("{} has got ahead of the switch at {}", name_, from);
          begin_anew();
        } else {
          timeline_ = timeline;
          sent_ = Lsn();
          ++switches_;
        }
      }
      if (failed_ || random_.coin()) return disconnect();
      return ask("IDENTIFY_SYSTEM", Doing::identify);
  }
}

void SimStandby::ask_to_start() {
  reported_before_ = ledger_.looked_at(timeline_);
  ask(fmt::format("START_REPLICATION {}{} TIMELINE {}",
                  slot_made_ ? fmt::format("SLOT \"{}\" ", name_) : std::string(),
                  kSegment.start_of(position_), timeline_),
      Doing::start);
}

void SimStandby::hear_row(std::string_view body) {
  row_seen_ = true;
  const auto values = relay::values({'D', std::string(body)});
  if (doing_ == Doing::identify) {
    const auto timeline = static_cast<wal::TimelineId>(std::stoul(values.at(1)));
    const auto end = *Lsn::parse(values.at(2));
    if (values.at(0) != std::to_string(kSystem))
      throw Violation{"P11", "the relay says that it is of another cluster"};
    story_.tell("{} hears of timeline {} up to {}", name_, timeline, end);
    if (timeline > 1 && end <= lineage_.timeline(timeline).begin)
      throw Violation{"P10", fmt::format("timeline {} is announced up to {}, and it begins at {}",
                                         timeline, end, lineage_.timeline(timeline).begin)};
    // (Over a restart one of which there is no whole record yet is not known.)
    const bool begun = announced_timeline_ > 1 &&
                       lineage_.timeline(announced_timeline_).wal.complete_end(announced_end_) >
                           lineage_.timeline(announced_timeline_).begin;
    // WAL after a fork that is known by now is not part of the cluster's history any more. If the
    // archive began after the fork, all that was sent is such WAL, and the archive then continues
    // with a segment before the fork. So the end may be anywhere (seeds 377776 and 387769 of
    // e94f7ac), even on the timeline before (325898 of eb9f749).
    const auto all_is_left = [&](wal::TimelineId of) {
      const auto fork = lineage_.timeline(of).switchpoint;
      return fork.valid() && sent_from_ >= fork && ledger_.has_left(of);
    };
    if (begun && timeline < announced_timeline_ && !all_is_left(announced_timeline_))
      throw Violation{
          "P10", fmt::format("timeline {} is announced after {}", timeline, announced_timeline_)};
    const auto fork = lineage_.timeline(timeline).switchpoint;
    // (A receiver that goes on behind a hole reports nothing of what was found before it, and never
    // reported: seeds 836487 and 980725 of eb9f749.)
    // (Where all before the fork was pruned, what is left of the timeline is a lost branch's: seed
    // 1168863.)
    if (timeline == timeline_ && end < sent_ &&
        (!fork.valid() || (end < fork && ledger_.given_up_before() < fork)) &&
        !all_is_left(timeline) && ledger_.was_reported(timeline, sent_) &&
        !ledger_.damage_in(end, sent_))  // seed 1140990
      throw Violation{"P10", fmt::format("{} is announced, and up to {} was sent", end, sent_)};
    if (timeline < timeline_) {  // as a walreceiver, he tries again later
      failed_ = true;
      return;
    }
    announced_timeline_ = timeline;
    announced_end_ = end;
    ledger_.on_announced(timeline, end);
    next_history_ = timeline_;
    return;
  }
  if (doing_ == Doing::history) {
    const auto truth = next_history_ <= lineage_.newest() ? lineage_.history(next_history_) : "";
    if (values.at(1) != truth)
      throw Violation{"P11", fmt::format("the history of timeline {} is wrong", next_history_)};
    return;
  }
  if (doing_ == Doing::read_slot) {
    if (values.at(1) == "NULL") return;
    reserved_from_ = *Lsn::parse(values.at(1));
    position_ = flushed_ = kSegment.start_of(std::min(reserved_from_, announced_end_));
    slot_made_ = true;
    return;
  }
  if (doing_ == Doing::ending || doing_ == Doing::start) {
    const auto next = static_cast<wal::TimelineId>(std::stoul(values.at(0)));
    const auto from = *Lsn::parse(values.at(1));
    if (next <= timeline_ || next > lineage_.newest() ||
        from != lineage_.timeline(timeline_).switchpoint || next != timeline_ + 1)
      throw Violation{"P11", fmt::format("timeline {} is said to end at {}, where {} begins",
                                         timeline_, from, next)};
    next_timeline_ = {next, from};
  }
}

void SimStandby::hear_error(std::string_view body) {
  failed_ = true;
  const relay::Heard error{'E', std::string(body)};
  const auto sqlstate = relay::field(error, 'C');
  story_.tell("{} hears: {} {}", name_, sqlstate, relay::field(error, 'M'));
  const bool streams = doing_ == Doing::start || doing_ == Doing::stream;
  if (doing_ == Doing::make_slot && sqlstate == "42710") {
    failed_ = false;  // made before a crash, and never heard of
    return;
  }
  if (streams && sqlstate == "42704" && slot_made_)
    throw Violation{"P12", fmt::format("the slot of {} is gone", name_)};
  // A record that ends in an unfinished segment may begin in the one before.
  const auto named = [&](std::string_view file) {
    return relay::field(error, 'M').find(file) != std::string::npos;
  };
  const auto before = std::max<std::uint64_t>(kSegment.segno(announced_end_), 1) - 1;
  const bool comes_again =
      (named(".partial") ||
       named(wal::SegmentName(announced_timeline_, before, kSegment).to_string())) &&
      ledger_.may_come_again(announced_timeline_, announced_end_);
  if (streams && sqlstate == "XX001" && !ledger_.damage_was_sent() && !comes_again)
    throw Violation{"P11", "a false alarm downstream: " + relay::field(error, 'H') +
                               relay::field(error, 'M') + " " + relay::field(error, 'D')};
  // What was reported is never behind such a place, unless it was spoiled, or a hole was accepted.
  // (Reported before the stream was asked for, and looked at by the relay since: a disk may answer
  // while the error is on its way, and the next stream gets all. Seeds 240245 of e745578d and
  // 869520 of 7a5e3135.)
  if (streams && relay::field(error, 'M').find("breaks off") != std::string::npos &&
      !ledger_.damage_was_sent() && ledger_.told_holes().empty()) {
    // (Not a report at the start of a stream, of which nothing came: seed 839265 of eb9f749.)
    // Behind a fork that is known by now is a lost branch, which is not served (seed 620468 of
    // 7a5e3135); and an archive that begins there has lost WAL only.
    const auto first = ledger_.promised_from(timeline_);
    const auto fork = lineage_.timeline(timeline_).switchpoint;
    const bool has_left = fork.valid() && ledger_.has_left(timeline_);
    const auto reported = std::min(reported_before_, has_left ? fork : lineage_.end(timeline_));
    const bool all_lost = first && has_left && *first >= fork;
    if (!all_lost && at_ < lineage_.timeline(timeline_).wal.complete_end(reported))
      throw Violation{"P11", fmt::format("{} gets WAL up to {} only, and up to {} was reported",
                                         name_, at_, reported)};
  }
  if (streams && sqlstate == "58P01") {
    if (!may_be_missing(kSegment.start_of(position_)))
      throw Violation{"P12", fmt::format("WAL from {} on is gone, and the slot of {} needs it",
                                         kSegment.start_of(position_), name_)};
    begin_anew();
  }
  // It had more than what became of the cluster.
  if (streams &&
      relay::field(error, 'M').find("is not in this server's history") != std::string::npos) {
    if (lineage_.timeline(timeline_).switchpoint.valid() &&
        kSegment.start_of(position_) > lineage_.timeline(timeline_).switchpoint)
      begin_anew();
    else
      throw Violation{"P11",
                      "the relay does not know its own history: " + relay::field(error, 'M')};
  }
  if (streams) doing_ = Doing::ending;
}

void SimStandby::hear_stream(std::string_view body) {
  const auto decoded = wire::decode_from_server(bytes_of(body));
  if (const auto* keepalive = std::get_if<wire::Keepalive>(&decoded)) {
    if (keepalive->reply_requested) report(false);
    return;
  }
  const auto* const data = std::get_if<wire::XLogData>(&decoded);
  if (data == nullptr) throw Violation{"P11", "a message that cannot be"};
  const auto end = data->start + data->wal.size();
  if (data->start != at_)
    throw Violation{"P11", fmt::format("{} comes, and {} is next", data->start, at_)};
  if (end > lineage_.end(timeline_))
    throw Violation{"P11", fmt::format("{} to {} of timeline {} is sent, and nobody wrote that",
                                       data->start, end, timeline_)};
  if (const auto wrong = ledger_.first_wrong(timeline_, data->start, data->wal))
    throw Violation{"P11", fmt::format("{} to {} of timeline {} is sent, and the byte at {} is not "
                                       "what was written",
                                       data->start, end, timeline_, *wrong)};
  ledger_.on_sent(timeline_, data->start, end);
  ledger_.on_announced(timeline_, data->server_end);
  received_ += data->wal.size();
  at_ = end;
  sent_from_ = sent_.valid() ? std::min(sent_from_, data->start) : data->start;
  sent_ = std::max(sent_, end);
  position_ = std::max(position_, end);
}

}  // namespace weir::sim
