#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "store/send/follow.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

constexpr auto kKeepAgain = 10s;
constexpr auto kKeepAtLeastEvery = 60s;
/// Checks take at most a hundredth of the time.
constexpr int kLookingShare = 100;
/// Positions that are checked before other work continues, which includes the mark.
constexpr std::size_t kRemovedAtOnce = 64;
/// Likewise a time: with another format in the store, a check compresses the segment.
constexpr auto kRemovesFor = 1s;

}  // namespace

/// Problems here never stop uploads.
void Follow::keep_local() {
  if (!options_.keep_local) {
    next_keep_ = Time::max();
    return;
  }
  std::shared_ptr<const Tools> tools;
  {
    const Threads::Lock lock(*mutex_);
    tools = tools_;
    // Age matters as well; without uploads there is nothing new to remove.
    if (view_.sent_files != sent_at_keep_) next_keep_ = std::min(next_keep_, keep_not_before_);
    if (!tools) next_keep_ = Time::max();
    if (threads_.now() < next_keep_) return;
    sent_at_keep_ = view_.sent_files;
  }
  next_keep_ = threads_.now() + kKeepAtLeastEvery;
  bool through = true;
  try {
    through = remove_stored(*tools);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability || stopping_) throw;
    tell_kept(error.what());
    next_keep_ = threads_.now() + kKeepAgain;
  }
  keep_not_before_ = threads_.now() + std::max<std::chrono::nanoseconds>(
                                          options_.keep_every, kLookingShare * looking_took_);
  next_keep_ = through ? std::max(next_keep_, keep_not_before_) : threads_.now();
}

/// Once for each reason.
void Follow::tell_kept(const std::string& why) {
  bool is_new = false;
  {
    const Threads::Lock lock(*mutex_);
    is_new = view_.kept_for != why;
    view_.kept_for = why;
  }
  if (is_new) log_.warning("what the store has cannot be removed from the archive: {}", why);
}

/// Returns false if it left off because of the time.
bool Follow::remove_stored(const Tools& tools) {
  Mark mark;
  {
    const Threads::Lock lock(*mutex_);
    // As on disk: removed files have a manifest line, and are not sent again by any process.
    mark = written_;
  }
  const auto before = threads_.now();
  auto all = local_segments(archive_, cluster_->segment_size);
  looking_took_ = threads_.now() - before;
  auto plan = may_go(std::move(all), *options_.keep_local, mark, held_by_slots(archive_),
                     std::chrono::system_clock::now());
  if (plan.numbers.size() > kRemovedAtOnce) {
    plan.numbers.resize(kRemovedAtOnce);
    next_keep_ = Time{};  // and soon again
  }
  std::vector<UploadItem> items;
  for (const auto& number : plan.numbers)
    for (const auto& segment : number.segments) items.push_back({segment.timeline(), segment});
  std::sort(items.begin(), items.end());
  const auto there = forms_there(items, cluster_->segment_size, layout_, [&](const auto& after) {
    return store_.list(layout_.wal_prefix(), after, kListingPage);
  });
  // As before a prune: a crash must not restore an earlier slots file, which needs more WAL.
  if (!plan.numbers.empty()) archive_.sync();
  const auto may_go_now = [&](wal::SegmentName segment, std::string& stays) {
    PGWEIR_CHECK(mark.has(segment));
    if (!surely_stored(tools, segment, there, stays)) return false;
    // That took time: a slot may have been created, or moved back.
    stays = kept_for_slot(segment.segno(cluster_->segment_size), held_by_slots(archive_),
                          cluster_->segment_size);
    return stays.empty();
  };
  bool through = true;
  const auto until = threads_.now() + kRemovesFor;
  for (const auto& number : plan.numbers) {
    if (&number != &plan.numbers.front() && threads_.now() >= until) {
      through = false;
      break;
    }
    std::string stays;
    if (stopping_ || !remove_local(archive_, number, [&](wal::SegmentName segment) {
          return may_go_now(segment, stays);
        })) {
      plan.kept_for = stays;
      break;
    }
    log_.debug("removed from the archive, as the store has it: {}", number.segments.front());
    const Threads::Lock lock(*mutex_);
    view_.removed_files += number.segments.size();
  }
  const Threads::Lock lock(*mutex_);
  view_.kept_for = plan.kept_for;
  return through;
}

/// Checked now, for the file that is about to be removed: read, verified, and compared with the
/// store's object. A segment missing there is sent again, and kept for now. `stays`: the reason.
bool Follow::surely_stored(const Tools& tools, wal::SegmentName segment, const FormsThere& there,
                           std::string& stays) {
  const UploadItem item{segment.timeline(), segment};
  try {
    auto result = tools.uploader.segment(segment, there.at(segment));
    using What = Uploader::Result::What;
    if (result.what == What::was_there && !result.compared) {
      stays = fmt::format(
          "{} is in the store, and cannot be compared with the one here: it is encrypted, and "
          "whoever has sent it has compared it by another key (--manifest-key, "
          ".pgweir-store-key)",
          segment);
      tell_kept(stays);
    }
    const Threads::Lock lock(*mutex_);
    trouble_.sent(item);
    if (result.what != What::stored) return result.what == What::was_there && result.compared;
    if (result.entry) entries_.push_back(std::move(*result.entry));
    ++view_.sent_again;
  } catch (const StoreError&) {
    throw;
  } catch (const Error& error) {
    note_stuck(item, "stays in the archive, and what is behind it", error);
    stays = error.what();
    return false;
  }
  next_keep_ = Time{};
  log_.warning("{} was sent, and was gone from the store: it was sent again", segment);
  return false;
}

}  // namespace weir::store
