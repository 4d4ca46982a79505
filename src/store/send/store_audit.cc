#include "store/send/store_audit.h"

#include <utility>

#include "archive/forms.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "store/ledger/lost_segments.h"
#include "store/ledger/manifest_reader.h"
#include "store/listing.h"
#include "store/send/same_cluster.h"

namespace weir::store {

namespace {

/// After losses that could not be recorded, or that were too many for one request each.
constexpr std::chrono::seconds kSoon{10};
constexpr std::size_t kMostAuditRequests = 1'000;

}  // namespace

StoreAudit::StoreAudit(io::Directory& archive, ObjectStore& store, const Layout& layout,
                       Options options, Threads& threads, FollowReport& report, Log& log)
    : archive_(archive),
      store_(store),
      layout_(layout),
      options_(std::move(options)),
      threads_(threads),
      report_(report),
      log_(log) {}

StoreAudit::Time StoreAudit::look(const Mark& mark, const archive::Identity& cluster) {
  if (!audit_) {
    if (!mark.empty()) look_at_place(cluster);
    audit_.emplace(mark, layout_, begins_, emptied_);
  }
  if (const auto after = audit_->after()) {
    audit_->take(store_.list(layout_.wal_prefix(), *after, kListingPage));
    return threads_.now();
  }
  auto missing = audit_->missing();
  if (!missing.empty()) {
    begins_ = read_begins(store_, layout_, options_.keys, kOnce);
    std::erase_if(missing, [this](wal::SegmentName each) { return is_pruned(each, begins_); });
  }
  look_for_histories(mark);
  auto next = threads_.now() + options_.every;
  audit_.reset();
  std::set<wal::SegmentName> still_lost;
  std::vector<archive::Loss> losses;
  if (!missing.empty())
    losses = archive::read_losses(archive_, archive::list_archive_names(archive_));
  bool settled = true;
  std::size_t requests = 0;
  std::size_t more = 0;
  for (const auto& segment : missing) {
    const UploadItem item{segment.timeline(), segment};
    const bool is_here = archive::find_finished(archive_, segment).has_value();
    if (!lost_.contains(segment)) {
      // Check again: it may have been stored since, or listed during a change.
      if (requests < kMostAuditRequests) {
        ++requests;
        if (!forms_of(store_, layout_, segment).empty()) continue;
      } else if (is_here) {
        ++more;  // before it is sent, the store is asked for it
        settled = false;
        options_.send_again(item);
        continue;
      } else {
        settled = false;
        next = threads_.now() + kSoon;
        continue;
      }
    }
    if (is_here) {
      settled = false;
      send_again(item);
      continue;
    }
    still_lost.insert(segment);
    const auto* const hole = hole_with(losses, segment, cluster.segment_size);
    if (hole != nullptr && hole->acknowledged) {
      report_.unstuck(item);
      continue;
    }
    settled = false;
    report_.stuck(item, "is lost", lost_error(store_.name_of(layout_.key(segment))));
  }
  if (more > 0)
    log_.warning("{} more segments were sent, and are gone from the store: they are sent again",
                 more);
  // Losses no longer count, by the names, if their segments reappear or precede what a prune has
  // left.
  try {
    if (record_lost(archive_, still_lost, cluster, options_.place, log_)) options_.recorded();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    next = threads_.now() + kSoon;
    report_.failed(error);
  }
  for (const auto& segment : lost_)
    if (!still_lost.contains(segment)) report_.unstuck({segment.timeline(), segment});
  lost_ = std::move(still_lost);
  if (settled && std::exchange(emptied_, false)) options_.whole();
  return next;
}

void StoreAudit::place_was_emptied() {
  if (std::exchange(emptied_, true)) return;
  audit_.reset();  // one in progress goes by what the store had
  log_.warning(
      "the store had lost {}, the record of this archive's cluster: it was emptied or replaced; "
      "segments that it lacks are sent again, if they are still here",
      store_.name_of(key_of_cluster(layout_)));
}

void StoreAudit::look_at_place(const archive::Identity& cluster) {
  const ClusterRecord ours{cluster.system_identifier, cluster.segment_size, layout_.form()};
  if (has_record(store_, layout_, ours)) return;
  place_was_emptied();
  options_.emptied();
  SameCluster(store_, layout_, ours).require(Conditions::ignored);
}

/// There are few. (By a listing: the rights that the audit needs are sufficient.) No recovery can
/// follow a timeline without its history.
void StoreAudit::look_for_histories(const Mark& mark) {
  for (const auto timeline : mark.histories) {
    const auto key = layout_.history_key(timeline);
    const auto there = store_.list(key, "", 1).objects;
    if (!there.empty() && there.front().key == key) continue;
    if (archive_.find(wal::history_name(timeline))) send_again({timeline, {}});
  }
}

void StoreAudit::send_again(const UploadItem& item) {
  log_.warning("{} was sent, and is gone from the store: it is sent again", item.to_string());
  options_.send_again(item);
}

}  // namespace weir::store
