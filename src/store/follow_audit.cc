#include <fmt/format.h>

#include "archive/forms.h"
#include "archive/losses.h"
#include "base/units.h"
#include "store/follow.h"
#include "store/listing.h"

namespace weir::store {

namespace {

constexpr std::chrono::seconds kAgain{10};

}  // namespace

/// A page at a time: what is to be sent meanwhile goes first.
void Follow::audit() {
  {
    const Threads::Lock lock(*mutex_);
    if (!tools_) next_audit_ = Time::max();
    if (threads_.now() < next_audit_) return;
    if (!audit_) audit_.emplace(plan_->mark(), layout_);
  }
  if (const auto after = audit_->after()) {
    audit_->take(store_.list(layout_.wal_prefix(), *after, kListingPage));
    return;
  }
  next_audit_ = threads_.now() + options_.audit_every;
  const auto missing = audit_->missing();
  audit_.reset();
  std::set<wal::SegmentName> still_lost;
  for (const auto& segment : missing) {
    if (stopping_) return;
    // Once more: it may have been put there since, or have been listed in the moment of a change.
    if (!forms_of(store_, layout_, segment).empty()) continue;
    if (!miss(segment)) still_lost.insert(segment);
  }
  record_lost(still_lost);
  const Threads::Lock lock(*mutex_);
  for (const auto& segment : lost_)
    if (!still_lost.contains(segment)) trouble_.sent({segment.timeline(), segment});
  std::erase_if(lost_, [&](const auto& segment) { return !still_lost.contains(segment); });
}

/// It is sent again if it is here. If not, nobody but another archive has it: false.
bool Follow::miss(wal::SegmentName segment) {
  const UploadItem item{segment.timeline(), segment};
  const auto file = archive::find_finished(archive_, segment);
  if (!file) {
    {
      const Threads::Lock lock(*mutex_);
      lost_.insert(segment);
    }
    note_stuck(item, "is lost",
               Error(ErrorKind::gap,
                     "a segment that was sent is gone from the store, and from the archive")
                   .with("object", store_.name_of(layout_.key(segment)))
                   .hint("Find out who removes objects there. Bring it back from another archive "
                         "(\"pgweir import\"), or take a base backup now: no recovery gets past "
                         "it."));
    return false;
  }
  {
    const Threads::Lock lock(*mutex_);
    plan_->forget(segment);
    ++view_.sent_again;
  }
  log_.warning("{} was sent, and was gone from the store: it is sent again", segment);
  add(item, &*file, std::chrono::system_clock::now());
  return true;
}

/// As holes, here and (by the next look) in the store: whoever recovers from there alone is told,
/// also where nothing lies behind them. What comes back, or lies before what a prune has left,
/// counts no longer, by the names.
void Follow::record_lost(const std::set<wal::SegmentName>& lost) {
  std::vector<archive::Loss> holes;
  for (const auto& segment : lost) {
    const auto begin = segment.start(cluster_->segment_size);
    const auto end = begin + cluster_->segment_size.bytes();
    if (!holes.empty() && holes.back().timeline == segment.timeline() &&
        holes.back().end == begin) {
      holes.back().end = end;
      continue;
    }
    archive::Loss hole;
    hole.timeline = hole.next_timeline = segment.timeline();
    hole.begin = hole.sound_end = hole.counted_to = begin;
    hole.end = end;
    hole.system_identifier = cluster_->system_identifier;
    hole.segment_size = cluster_->segment_size;
    hole.found = format_time(std::chrono::system_clock::now());
    hole.cause =
        fmt::format("gone from the store ({}), and not in the archive", options_.shown_name);
    holes.push_back(std::move(hole));
  }
  try {
    for (const auto& hole : holes) {
      if (!archive::record_loss(archive_, hole, archive::Longer::kept)) continue;
      log_.warning("the WAL from {} to {} on timeline {} is lost: it is recorded as {}", hole.begin,
                   hole.end, hole.timeline, hole.id());
      next_look_ = Time{};
    }
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    next_audit_ = threads_.now() + kAgain;
    note(error);
  }
}

}  // namespace weir::store
