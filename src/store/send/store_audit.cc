#include "store/send/store_audit.h"

#include <utility>

#include "archive/forms.h"
#include "store/ledger/lost_segments.h"
#include "store/ledger/manifest_reader.h"
#include "store/listing.h"
#include "store/send/same_cluster.h"

namespace weir::store {

namespace {

constexpr std::chrono::seconds kRecordAgain{10};

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
  for (const auto& segment : missing)
    // Check again: it may have been stored since, or listed during a change.
    if (forms_of(store_, layout_, segment).empty() && is_lost(segment)) still_lost.insert(segment);
  // Losses no longer count, by the names, if their segments reappear or precede what a prune has
  // left.
  try {
    if (record_lost(archive_, still_lost, cluster, options_.place, log_)) options_.recorded();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    next = threads_.now() + kRecordAgain;
    report_.failed(error);
  }
  for (const auto& segment : lost_)
    if (!still_lost.contains(segment)) report_.unstuck({segment.timeline(), segment});
  lost_ = std::move(still_lost);
  return next;
}

void StoreAudit::place_was_emptied() {
  if (std::exchange(emptied_, true)) return;
  log_.warning(
      "the store no longer has {}, the record of this archive's cluster: it was emptied or "
      "replaced; segments that it lacks are sent again, if they are still here",
      store_.name_of(key_of_cluster(layout_)));
}

void StoreAudit::look_at_place(const archive::Identity& cluster) {
  const ClusterRecord ours{cluster.system_identifier, cluster.segment_size, layout_.form()};
  if (has_record(store_, layout_, ours)) return;
  place_was_emptied();
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

bool StoreAudit::is_lost(wal::SegmentName segment) {
  if (archive::find_finished(archive_, segment)) {
    send_again({segment.timeline(), segment});
    return false;
  }
  report_.stuck({segment.timeline(), segment}, "is lost",
                lost_error(store_.name_of(layout_.key(segment))));
  return true;
}

}  // namespace weir::store
