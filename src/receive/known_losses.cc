#include "receive/known_losses.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/units.h"

namespace weir::receive {

namespace {

void tell_loss(Log& log, const archive::Loss& loss) {
  if (loss.complaint)
    log.error(Error(ErrorKind::damage, "the record of a loss cannot be read")
                  .with("id", loss.id())
                  .with("reason", *loss.complaint)
                  .hint("Archiving continues. Check the disk. The loss is still reported by the "
                        "name of its record, and \"pgweir verify\" finds missing WAL."));
  const auto known = loss.acknowledged
                         ? fmt::format(" (acknowledged by {} at {}: {})", loss.acknowledged->who,
                                       loss.acknowledged->time, loss.acknowledged->reason)
                         : std::string();
  const auto level = [&](const std::string& text) {
    loss.acknowledged ? log.info("{}{}", text, known) : log.warning("{}", text);
  };
  if (loss.kind == archive::Loss::Kind::minimal_wal) {
    level(fmt::format(
        "the server wrote WAL with wal_level=minimal from {} on timeline {}{}: it is archived, but "
        "no recovery can pass it; it is recorded as {}",
        loss.begin, loss.timeline, loss.goes_on ? std::string() : fmt::format(" to {}", loss.end),
        loss.id()));
    if (!loss.acknowledged)
      log.warning(
          "hint: Take a base backup now: an earlier one can be recovered up to {} only. Then run "
          "\"pgweir ack -D DIRECTORY {}\" to end the alarm.",
          loss.begin, loss.id());
    return;
  }
  if (loss.kind == archive::Loss::Kind::hole) {
    for (const auto& range : loss.missing.empty()
                                 ? std::vector<archive::Loss::Range>{{loss.begin, loss.end}}
                                 : loss.missing)
      level(fmt::format(
          "the archive has a hole: WAL from {} to {} on timeline {} is missing, no recovery can "
          "pass it; it is recorded as {}",
          range.begin, range.end, loss.next_timeline, loss.id()));
    return;
  }
  const auto commits =
      loss.commits ? fmt::format(", with {}{}", loss.counted_to >= loss.end ? "" : "at least ",
                                 archive::transactions_text(*loss.commits, loss.prepared))
                   : std::string();
  const auto first = loss.first_segment().to_string();
  const auto last = loss.last_segment().to_string();
  level(fmt::format(
      "a failover lost WAL that the archive has: {} from {} to {} on timeline {}{}, not part of "
      "timeline {}; it is kept in {}, and recorded as {}",
      format_size(loss.end - loss.begin), loss.begin, loss.end, loss.timeline, commits,
      loss.next_timeline, first == last ? first : fmt::format("{} to {}", first, last), loss.id()));
  if (!loss.acknowledged)
    log.warning(
        "hint: To read what was lost, recover a copy to timeline {} (recovery_target_timeline = "
        "'{}', with \"pgweir restore --partial\"). When this is settled, run \"pgweir ack -D "
        "DIRECTORY {}\" to "
        "end the alarm.",
        loss.timeline, loss.timeline, loss.id());
}

}  // namespace

void KnownLosses::set_recorded(std::vector<archive::Loss> losses) {
  std::erase_if(losses, [](const archive::Loss& loss) { return !loss.recorded; });
  for (auto& loss : losses) {
    if (!loss.complaint) continue;
    const auto known = std::find_if(recorded_.begin(), recorded_.end(),
                                    [&](const auto& each) { return each.id() == loss.id(); });
    if (known == recorded_.end()) continue;
    auto complaint = std::move(loss.complaint);
    loss = *known;
    loss.complaint = std::move(complaint);
  }
  recorded_ = std::move(losses);
}

void KnownLosses::tell() {
  for (const auto& loss : recorded_)
    if (told_.insert(loss.id()).second) tell_loss(log_, loss);
}

void KnownLosses::add_pending(archive::Loss loss) {
  const auto same = [&](const archive::Loss& known) {
    return known.id() == loss.id() && known.end == loss.end &&
           known.next_timeline == loss.next_timeline;
  };
  if (std::any_of(recorded_.begin(), recorded_.end(), same) ||
      std::any_of(pending_.begin(), pending_.end(), same))
    return;
  loss.recorded = true;
  pending_.push_back(std::move(loss));
}

void KnownLosses::on_recorded(archive::Loss loss) {
  pending_.erase(pending_.begin());
  on_noticed(std::move(loss));
}

void KnownLosses::on_noticed(archive::Loss loss) {
  std::erase_if(recorded_, [&](const archive::Loss& known) { return known.id() == loss.id(); });
  told_.insert(loss.id());
  tell_loss(log_, loss);
  recorded_.push_back(std::move(loss));
}

std::vector<std::string> KnownLosses::take_refilled(wal::TimelineId timeline, wal::Lsn start) {
  std::vector<std::string> refilled;
  std::erase_if(recorded_, [&](const archive::Loss& loss) {
    const bool none_any_more = loss.kind == archive::Loss::Kind::hole && loss.end > start &&
                               loss.timeline <= timeline && timeline <= loss.next_timeline;
    if (none_any_more) refilled.push_back(loss.id());
    return none_any_more;
  });
  return refilled;
}

std::vector<archive::Loss> KnownLosses::all() const {
  auto all = recorded_;
  for (auto loss : pending_) {
    loss.recorded = false;
    all.push_back(std::move(loss));
  }
  return all;
}

}  // namespace weir::receive
