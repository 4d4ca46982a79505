#include "store/send/push.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "archive/forms.h"
#include "archive/home.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/published_open.h"
#include "archive/timelines.h"
#include "base/units.h"
#include "io/posix_directory.h"
#include "store/ledger/loss_records.h"
#include "store/ledger/lost_segments.h"
#include "store/ledger/manifest_writer.h"
#include "store/ledger/mark.h"
#include "store/listing.h"
#include "store/pace.h"
#include "store/send/audit.h"
#include "store/send/same_cluster.h"
#include "store/send/upload_plan.h"
#include "store/send/upload_start.h"
#include "store/send/uploader.h"
#include "store/write_once.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

/// Interval between checks of stop().
constexpr auto kSlice = 100ms;

class Push {
 public:
  Push(io::Directory& archive, ObjectStore& store, const Layout& layout, const PushOptions& options,
       Threads& threads, Log& log)
      : archive_(archive),
        store_(store),
        layout_(layout),
        options_(options),
        threads_(threads),
        log_(log),
        window_(options.jobs),
        mutex_(threads.make_mutex()),
        changed_(threads.make_condition()) {}

  PushResult run();

 private:
  void prepare();
  void look_for_vanished(Mark& mark, const archive::Listing& listing);
  void keep(std::vector<ManifestEntry> entries, const Mark& mark);
  void work(std::size_t worker);
  void send(const UploadItem& item, RetryPolicy& retry);
  template <typename Request>
  auto insist(RetryPolicy& retry, Request request) -> decltype(request());
  bool sleep(std::chrono::milliseconds time);
  [[nodiscard]] bool stopping() const { return options_.stop && options_.stop(); }
  void note(Error error);

  io::Directory& archive_;
  ObjectStore& store_;
  const Layout& layout_;
  const PushOptions& options_;
  Threads& threads_;
  Log& log_;

  archive::Identity cluster_;
  archive::Timelines timelines_;
  FormsThere there_;
  std::unique_ptr<Uploader> uploader_;
  std::optional<ManifestWriter> manifest_;  ///< of the thread that called run()
  std::size_t all_ = 0;
  Mark kept_;  ///< as on disk

  RequestWindow window_;
  std::unique_ptr<UploadPlan> plan_;
  std::vector<ManifestEntry> entries_;  ///< of stored files, for the manifest
  PushResult result_;
  std::size_t done_ = 0;
  std::size_t working_ = 0;
  bool over_ = false;  ///< start nothing more
  std::exception_ptr failure_;
  std::unique_ptr<Threads::Mutex> mutex_;
  std::unique_ptr<Threads::Condition> changed_;
};

PushResult Push::run() {
  prepare();
  all_ = plan_->waiting();
  if (all_ == 0) return std::move(result_);

  Mark written = kept_;
  std::vector<std::unique_ptr<Threads::Thread>> workers;
  const auto count = std::min(options_.jobs, all_);
  {
    const Threads::Lock lock(*mutex_);
    working_ = count;
  }
  for (std::size_t i = 0; i < count; ++i)
    workers.push_back(threads_.start("store", [this, i] { work(i); }));

  // Manifest and mark are written by this thread only, and never delay a request.
  std::exception_ptr failure;
  Threads::Lock lock(*mutex_);
  for (;;) {
    changed_->wait(
        lock, [&] { return working_ == 0 || !entries_.empty() || !(plan_->mark() == written); });
    const bool last = working_ == 0;
    const auto mark = plan_->mark();
    if (!entries_.empty() || !(mark == written)) {
      auto entries = std::exchange(entries_, {});
      lock.unlock();
      try {
        keep(std::move(entries), mark);
        written = mark;
        lock.lock();
      } catch (...) {
        failure = std::current_exception();
        lock.lock();
        over_ = true;
        break;
      }
      continue;
    }
    if (last) break;
  }
  lock.unlock();
  workers.clear();
  if (failure) std::rethrow_exception(failure);
  if (failure_) std::rethrow_exception(failure_);
  const auto pending = plan_->pending();
  result_.pending = pending.size();
  if (!pending.empty()) result_.next = pending.front().to_string();
  return std::move(result_);
}

/// The lines first: every marked file has a line, even after a power failure. (Files with a line
/// that are not marked are checked, and get a line, again.)
void Push::keep(std::vector<ManifestEntry> entries, const Mark& mark) {
  for (auto& entry : entries) manifest_->append(std::move(entry));
  RetryPolicy retry(options_.seed + 1);
  insist(retry, [&] {
    manifest_->put();
    return true;
  });
  PGWEIR_CHECK(!manifest_->due());
  archive::DirectoryHome home(archive_);
  keep_mark(home, mark, manifest_->memory());
  result_.manifest = manifest_->id();
  result_.head = manifest_->head();
}

void Push::prepare() {
  const auto listing = archive::list_archive_names(archive_);
  archive::require_some_wal(listing, archive_.path(), io::what_is_nearby(archive_.path()));
  const auto identity = archive::read_identity(archive_, listing);
  // Only an empty .partial: the cluster is not known yet.
  if (!identity) {
    plan_ = std::make_unique<UploadPlan>(Mark{});
    return;
  }
  cluster_ = *identity;
  auto start = starting_mark(archive_, options_.store_name, cluster_, log_);
  kept_ = start.mark;
  look_for_vanished(start.mark, listing);
  plan_ = std::make_unique<UploadPlan>(std::move(start.mark));
  plan_->offer(listing);
  if (plan_->waiting() == 0) {
    mirror_losses(archive_, listing, store_, layout_, {options_.retry_for, options_.seed});
    return;
  }

  RetryPolicy retry(options_.seed);
  const auto conditions =
      insist(retry, [&] { return tell_conditions(store_, layout_, options_.seed, log_); });
  SameCluster place(store_, layout_,
                    {cluster_.system_identifier, cluster_.segment_size, layout_.form()});
  insist(retry, [&] {
    place.require(conditions);
    return true;
  });
  manifest_.emplace(store_, layout_, options_.manifest_key, log_, conditions);
  insist(retry, [&] {
    manifest_->start(start.manifest, new_manifest_id());
    return true;
  });
  // Before the WAL after a hole, so that the hole is known when that WAL is found.
  mirror_losses(archive_, listing, store_, layout_, {options_.retry_for, options_.seed});
  there_ = forms_there(plan_->pending(), cluster_.segment_size, layout_, [&](const auto& after) {
    if (stopping()) return ObjectPage();
    return insist(retry, [&] { return store_.list(layout_.wal_prefix(), after, kListingPage); });
  });
  timelines_ = archive::Timelines::read(archive_, listing);
  uploader_ = std::make_unique<Uploader>(
      Uploader::Where{archive_, store_, layout_, options_.sealing, options_.compression},
      conditions, cluster_, timelines_);
}

/// One listing shows whether the store still has what counts as sent. Missing segments are removed
/// from `mark`, and sent again if the archive has them; otherwise they are recorded as lost.
void Push::look_for_vanished(Mark& mark, const archive::Listing& listing) {
  if (mark.sent.empty() && mark.histories.empty()) return;
  RetryPolicy retry(options_.seed);
  ObjectPage all;
  std::set<wal::TimelineId> histories;
  for_each_listed(
      {},
      [&](const auto& after) {
        if (stopping())
          throw StoreError(Trouble::stopped, "stopped before everything was looked at");
        return insist(retry,
                      [&] { return store_.list(layout_.wal_prefix(), after, kListingPage); });
      },
      [&](const ObjectEntry& object) {
        const auto name = layout_.file_of(object.key);
        if (!name) return true;
        if (const auto timeline = wal::parse_history_name(*name)) histories.insert(*timeline);
        const auto file = archive::SegmentFileName::parse(*name);
        if (file && file->method == codec::Method::none && !object.key.ends_with(kAgeSuffix) &&
            object.size != cluster_.segment_size.bytes())
          result_.failures.push_back(
              Error(ErrorKind::conflict,
                    "an object in the store does not have the size of a segment")
                  .with("object", store_.name_of(object.key))
                  .with("bytes", object.size)
                  .hint("Another program has written it. Remove it: the segment is then uploaded "
                        "again, if it is still here."));
        all.objects.push_back(object);
        return true;
      });
  // By the rules of the audit, which requests pages: the part of the listing after `after`.
  Audit audit(mark, layout_);
  bool begun = false;
  while (const auto after = audit.after()) {
    if (after->empty() && std::exchange(begun, true)) {
      if (audit.missing().empty()) break;
      // A prune may have run meanwhile.
      audit.take(
          insist(retry, [&] { return store_.list(layout_.wal_prefix(), "", kListingPage); }));
      continue;
    }
    ObjectPage page;
    const auto from = std::upper_bound(
        all.objects.begin(), all.objects.end(), *after,
        [](const std::string& key, const ObjectEntry& object) { return key < object.key; });
    page.objects.assign(from, all.objects.end());
    audit.take(page);
  }
  std::set<wal::SegmentName> here;
  for (const auto& entry : listing.segments)
    if (!entry.name.partial) here.insert(entry.name.segment);
  std::set<wal::SegmentName> lost;
  for (const auto& segment : audit.missing()) {
    // Check again: it may have been stored since.
    if (!insist(retry, [&] { return forms_of(store_, layout_, segment); }).empty()) continue;
    if (!here.contains(segment)) {
      lost.insert(segment);
      continue;
    }
    mark.remove(segment);
    ++result_.vanished;
    log_.warning("{} was sent, and is gone from the store: it is sent again", segment);
  }
  for (const auto& history : listing.histories) {
    if (histories.contains(history.timeline) || !mark.has_history(history.timeline)) continue;
    std::erase(mark.histories, history.timeline);
    ++result_.vanished;
    log_.warning("{} was sent, and is gone from the store: it is sent again",
                 wal::history_name(history.timeline));
  }
  if (lost.empty()) return;
  record_lost(archive_, lost, cluster_, options_.shown_name, log_);
  const auto known = archive::read_losses(archive_, listing);
  for (const auto& segment : lost) {
    const auto start = segment.start(cluster_.segment_size);
    if (std::none_of(known.begin(), known.end(), [&](const archive::Loss& loss) {
          return loss.kind == archive::Loss::Kind::hole && loss.acknowledged &&
                 loss.timeline == segment.timeline() && loss.begin <= start && start < loss.end;
        }))
      result_.failures.push_back(lost_error(store_.name_of(layout_.key(segment))));
  }
}

/// Retries temporary failures as long as there is time.
template <typename Request>
auto Push::insist(RetryPolicy& retry, Request request) -> decltype(request()) {
  std::optional<Threads::Time> until;
  for (;;) {
    try {
      auto result = request();
      retry.reset();
      return result;
    } catch (const StoreError& error) {
      const auto now = threads_.now();
      if (!until) until = now + options_.retry_for;
      if (!may_pass(error.trouble()) || now >= *until || stopping()) throw;
      if (error.trouble() == Trouble::throttled) {
        const Threads::Lock lock(*mutex_);
        window_.on_throttled();
      }
      log_.debug("{}; it is tried again", error.what());
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(*until - now);
      if (!sleep(std::min(retry.next(), left))) throw;
    }
  }
}

/// Returns false if stopped.
bool Push::sleep(std::chrono::milliseconds time) {
  const auto end = threads_.now() + time;
  const auto mutex = threads_.make_mutex();
  const auto condition = threads_.make_condition();
  Threads::Lock lock(*mutex);
  while (threads_.now() < end) {
    if (stopping()) return false;
    condition->wait_until(lock, std::min<Threads::Time>(end, threads_.now() + kSlice));
  }
  return true;
}

void Push::work(std::size_t worker) {
  RetryPolicy retry(options_.seed + 2 + worker);
  Threads::Lock lock(*mutex_);
  try {
    for (;;) {
      if (over_ || failure_) break;
      if (stopping()) {
        result_.stopped = true;
        break;
      }
      const auto item = plan_->next(window_.size());
      if (item) {
        lock.unlock();
        send(*item, retry);
        lock.lock();
        changed_->notify_all();
        continue;
      }
      if (plan_->waiting() == 0 && plan_->under_way() == 0) break;
      // A history in progress, or a reduced window.
      if (plan_->under_way() == 0) break;
      changed_->wait_until(lock, threads_.now() + kSlice);
    }
  } catch (...) {
    if (!lock.owns_lock()) lock.lock();
    if (!failure_) failure_ = std::current_exception();
  }
  --working_;
  changed_->notify_all();
}

void Push::send(const UploadItem& item, RetryPolicy& retry) {
  try {
    const auto found = item.segment ? there_.find(*item.segment) : there_.end();
    auto done = insist(retry, [&] {
      return item.segment
                 ? uploader_->segment(*item.segment, found == there_.end()
                                                         ? std::vector<archive::SegmentFileName>()
                                                         : found->second)
                 : uploader_->history(item.timeline);
    });
    if (item.segment && done.what != Uploader::Result::What::gone)
      archive::close_published_open(archive_, *item.segment);
    const Threads::Lock lock(*mutex_);
    window_.on_done();
    using What = Uploader::Result::What;
    if (done.what == What::gone) {
      plan_->gone(item);
    } else {
      entries_.push_back(std::move(*done.entry));
      plan_->stored(item);
      if (!done.compared) ++result_.not_compared;
      if (done.what == What::was_there)
        ++result_.were_there;
      else
        ++(item.segment ? result_.segments : result_.histories);
      result_.bytes += done.bytes;
    }
    if (options_.progress) options_.progress(++done_, all_);
  } catch (const StoreError& error) {
    // The next file would fail as well.
    const Threads::Lock lock(*mutex_);
    plan_->again(item);
    over_ = true;
    if (error.trouble() == Trouble::stopped)
      result_.stopped = true;
    else
      note(error);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    const Threads::Lock lock(*mutex_);
    plan_->stuck(item);
    note(error);
  }
}

/// If workers meet the same problem at once, it is reported once.
void Push::note(Error error) {
  const auto same = [&](const Error& each) { return each.message() == error.message(); };
  if (error.kind() == ErrorKind::conflict || error.kind() == ErrorKind::damage ||
      std::none_of(result_.failures.begin(), result_.failures.end(), same))
    result_.failures.push_back(std::move(error));
}

}  // namespace

PushResult push(io::Directory& archive, ObjectStore& store, const Layout& layout,
                const PushOptions& options, Threads& threads, Log& log) {
  archive::require_not_a_server_directory(archive);
  const auto lock = try_lock_mark(archive);
  if (!lock)
    throw Error(ErrorKind::retry, "another \"pgweir store push\" sends this archive")
        .with("directory", archive.path())
        .hint("One at a time is enough: a cron job may end here without harm.");
  return Push(archive, store, layout, options, threads, log).run();
}

}  // namespace weir::store
