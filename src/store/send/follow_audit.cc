#include <fmt/format.h>

#include "archive/forms.h"
#include "store/ledger/lost_segments.h"
#include "store/listing.h"
#include "store/send/follow.h"

namespace weir::store {

namespace {

constexpr std::chrono::seconds kAgain{10};

}  // namespace

/// One page at a time: uploads take precedence.
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
    // Check again: it may have been stored since, or listed during a change.
    if (!forms_of(store_, layout_, segment).empty()) continue;
    if (!miss(segment)) still_lost.insert(segment);
  }
  record_lost(still_lost);
  const Threads::Lock lock(*mutex_);
  for (const auto& segment : lost_)
    if (!still_lost.contains(segment)) trouble_.sent({segment.timeline(), segment});
  std::erase_if(lost_, [&](const auto& segment) { return !still_lost.contains(segment); });
}

/// It is sent again if the archive has it. Otherwise only another archive may have it: returns
/// false.
bool Follow::miss(wal::SegmentName segment) {
  const UploadItem item{segment.timeline(), segment};
  const auto file = archive::find_finished(archive_, segment);
  if (!file) {
    {
      const Threads::Lock lock(*mutex_);
      lost_.insert(segment);
    }
    note_stuck(item, "is lost", lost_error(store_.name_of(layout_.key(segment))));
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

/// Losses no longer count, by the names, if their segments reappear or precede what a prune has
/// left.
void Follow::record_lost(const std::set<wal::SegmentName>& lost) {
  try {
    if (store::record_lost(archive_, lost, *cluster_, options_.shown_name, log_))
      next_look_ = Time{};
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    next_audit_ = threads_.now() + kAgain;
    note(error);
  }
}

}  // namespace weir::store
