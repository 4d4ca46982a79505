#include "store/send/push.h"

#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "archive/forms.h"
#include "archive/identity.h"
#include "archive/listing.h"
#include "archive/losses.h"
#include "archive/timelines.h"
#include "base/units.h"
#include "io/posix_directory.h"
#include "store/insist.h"
#include "store/ledger/loss_records.h"
#include "store/ledger/lost_segments.h"
#include "store/ledger/manifest_reader.h"
#include "store/ledger/mark.h"
#include "store/listing.h"
#include "store/send/audit.h"
#include "store/send/ledger.h"
#include "store/send/same_cluster.h"
#include "store/send/sender.h"
#include "store/send/upload_plan.h"
#include "store/send/upload_start.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

/// Interval between checks of stop().
constexpr auto kSlice = 100ms;
/// For segments that the store has lost, in one run.
constexpr std::size_t kMostRequests = 1'000;

class Push final : private Sender::Client {
 public:
  Push(io::Directory& archive, ObjectStore& store, const Layout& layout, const PushOptions& options,
       Threads& threads, Log& log)
      : archive_(archive),
        store_(store),
        layout_(layout),
        options_(options),
        patience_{options.retry_for, options.seed, options.stop, &threads},
        threads_(threads),
        log_(log),
        ledger_(archive, store, layout, {options.store_name, options.manifest_key, options.seed},
                log),
        mutex_(threads.make_mutex()),
        sender_(archive, *this,
                {.jobs = options.jobs, .retry_for = options.retry_for, .seed = options.seed},
                threads, log) {}

  PushResult run();

 private:
  // Sender::Client
  void on_done(const UploadItem& item, const Uploader::Result& result,
               const std::vector<UploadItem>& settled) override;
  void on_failed(const Error& error, std::chrono::milliseconds rest) override;
  void on_stuck(const UploadItem& item, const Error& error) override;
  void on_given_up(const Error& error) override;
  void on_broken(const std::exception_ptr&) override {}

  [[nodiscard]] std::size_t prepare();
  [[nodiscard]] bool look_at_place();
  void look_for_vanished(Mark& mark, const archive::Listing& listing);
  void keep(Sender::News news);
  void record_gone(const std::vector<wal::SegmentName>& fresh);
  [[nodiscard]] bool stopping() const { return options_.stop && options_.stop(); }
  void note(const Error& error);

  io::Directory& archive_;
  ObjectStore& store_;
  const Layout& layout_;
  const PushOptions& options_;
  const Patience patience_;
  Threads& threads_;
  Log& log_;

  archive::Identity cluster_;
  Ledger ledger_;  ///< of the thread that called run(), like the next two
  std::size_t all_ = 0;
  std::set<wal::SegmentName> gone_;              ///< from the archive, before they were sent
  const std::unique_ptr<Threads::Mutex> mutex_;  // guards the next two
  PushResult result_;
  std::size_t done_ = 0;
  Sender sender_;  ///< the first to be destroyed
};

PushResult Push::run() {
  all_ = prepare();
  if (all_ == 0) return std::move(result_);

  sender_.start();
  bool running = true;
  while (running) {
    running = sender_.wait_until(threads_.now() + kSlice, ledger_.written());
    if (stopping()) sender_.stop();
    // Manifest and mark are written by this thread only, and never delay a request.
    if (sender_.has_news(ledger_.written())) keep(sender_.take_news());
  }
  sender_.join();
  sender_.throw_failure();
  if (!gone_.empty())
    result_.failures.push_back(
        Error(ErrorKind::gap, "segments left the archive before they were sent")
            .with("the first", *gone_.begin())
            .with("their number", gone_.size())
            .hint("Find out which program removes them; \"pgweir prune\" keeps them. Import them "
                  "from another archive (\"pgweir import\"), or take a base backup now: no "
                  "recovery from the store can pass them."));
  const auto pending = sender_.pending();
  result_.pending = pending.size();
  if (!pending.empty()) result_.next = pending.front().to_string();
  result_.stopped = result_.stopped || (stopping() && !pending.empty());
  return std::move(result_);
}

/// Before the mark that passes them is written. The next run uploads the record (prepare()).
void Push::record_gone(const std::vector<wal::SegmentName>& fresh) {
  if (fresh.empty()) return;
  for (const auto& segment : fresh)
    // Checked twice: a file may be renamed to another form once. The next run then sends it.
    if (!archive::find_finished(archive_, segment) && !archive::find_finished(archive_, segment))
      gone_.insert(segment);
  record_lost(archive_, gone_, cluster_, options_.shown_name, log_, Lost::before_upload);
}

void Push::keep(Sender::News news) {
  record_gone(news.gone);
  ledger_.add(std::move(news.lines));
  insist(patience_, [&] {
    ledger_.put();
    return true;
  });
  ledger_.keep(news.mark);
  result_.manifest = ledger_.manifest().id();
  result_.head = ledger_.manifest().head();
}

/// Returns the number of files to send.
std::size_t Push::prepare() {
  const auto listing = archive::list_archive_names(archive_);
  archive::require_some_wal(listing, archive_.path(), io::what_is_nearby(archive_.path()));
  const auto identity = archive::read_identity(archive_, listing);
  if (!identity) return 0;  // only an empty .partial: the cluster is not known yet
  cluster_ = *identity;
  auto mark = ledger_.start(cluster_);
  bool answers = true;
  try {
    look_for_vanished(mark, listing);
  } catch (const StoreError& error) {
    // A listing of all objects may always take too long. Uploads need only its end.
    if (!may_pass(error.trouble()) || stopping()) throw;
    answers = false;
    result_.failures.push_back(
        Error(ErrorKind::retry, "could not check that the store still has the uploaded files")
            .with("reason", error.what())
            .hint(error.hint()));
  }
  UploadPlan plan(mark);
  plan.offer(listing);
  const auto items = plan.pending();
  sender_.begin(std::move(mark));
  while (!items.empty() && !ledger_.is_open())
    insist(answers ? patience_ : kOnce, [&] {
      ledger_.open_further();
      return true;
    });
  const auto losses = read_loss_records(archive_, listing, log_);
  if (!losses.empty() && !ledger_.is_open()) static_cast<void>(look_at_place());
  // Before the WAL after a hole, so that the hole is known when that WAL is found.
  mirror_losses(losses, store_, layout_, patience_);
  if (items.empty()) return 0;
  sender_.offer(items, forms_there(items, cluster_.segment_size, layout_, [&](const auto& after) {
                  if (stopping()) return ObjectPage();
                  return insist(patience_, [&] {
                    return store_.list(layout_.wal_prefix(), after, kListingPage);
                  });
                }));
  sender_.use(std::make_shared<const SendTools>(
      Uploader::Where{archive_, store_, layout_, options_.sealing, options_.compression},
      ledger_.conditions(), cluster_, archive::Timelines::read(archive_, listing)));
  return items.size();
}

/// Checks that the place is this cluster's. Returns false if it had no record of its cluster; then
/// it gets one.
bool Push::look_at_place() {
  const ClusterRecord ours{cluster_.system_identifier, cluster_.segment_size, layout_.form()};
  if (insist(patience_, [&] { return has_record(store_, layout_, ours); })) return true;
  ledger_.place_was_emptied();
  SameCluster place(store_, layout_, ours);
  insist(patience_, [&] { place.require(Conditions::ignored); });
  return false;
}

/// One listing shows whether the store still has what counts as sent. Missing segments are removed
/// from `mark`, and sent again if the archive has them; otherwise they are recorded as lost.
void Push::look_for_vanished(Mark& mark, const archive::Listing& listing) {
  if (mark.empty()) return;
  ObjectPage all;
  std::set<wal::TimelineId> histories;
  for_each_listed(
      {},
      [&](const auto& after) {
        if (stopping())
          throw StoreError(Trouble::stopped, "stopped before all objects were checked");
        return insist(patience_,
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
  const auto missing_from = [&](std::vector<wal::SegmentName> begins, bool emptied) {
    Audit audit(mark, layout_, std::move(begins), emptied);
    bool begun = false;
    while (const auto after = audit.after()) {
      if (after->empty() && std::exchange(begun, true)) {
        if (audit.missing().empty()) break;
        // A prune may have run meanwhile.
        audit.take(
            insist(patience_, [&] { return store_.list(layout_.wal_prefix(), "", kListingPage); }));
        continue;
      }
      ObjectPage page;
      const auto from = std::upper_bound(
          all.objects.begin(), all.objects.end(), *after,
          [](const std::string& key, const ObjectEntry& object) { return key < object.key; });
      page.objects.assign(from, all.objects.end());
      audit.take(page);
    }
    return audit.missing();
  };
  auto missing = missing_from({}, true);
  if (!missing.empty()) static_cast<void>(look_at_place());
  const bool emptied = ledger_.was_emptied();
  if (!emptied && !missing.empty()) missing = missing_from({}, false);
  if (!missing.empty())
    missing = missing_from(
        read_begins(store_, layout_, proofs_of(options_.manifest_key), patience_), emptied);
  std::set<wal::SegmentName> here;
  for (const auto& entry : listing.segments)
    if (!entry.name.partial) here.insert(entry.name.segment);
  std::vector<archive::Loss> recorded;
  const auto known = archive::read_losses(archive_, listing, &recorded);
  const auto is_accepted = [&](wal::SegmentName segment) {
    const auto* const hole = hole_with(known, segment, cluster_.segment_size);
    return hole != nullptr && hole->acknowledged.has_value();
  };
  std::set<wal::SegmentName> lost;
  bool settled = true;
  // What is here is compared before it is sent: it needs no request, and leaves those to the rest.
  std::size_t requests_for_here = 0;
  std::size_t requests_for_lost = 0;
  for (const auto& segment : missing) {
    const bool is_here = here.contains(segment);
    auto& requests = is_here ? requests_for_here : requests_for_lost;
    const bool may_ask = requests < kMostRequests;
    // (To the archive, a hole before all its WAL is not open.)
    const bool is_recorded = hole_with(recorded, segment, cluster_.segment_size) != nullptr;
    if (!is_here && !is_recorded && !may_ask) {  // in the next run
      settled = false;
      continue;
    }
    if (may_ask && (is_here || !is_recorded)) {
      ++requests;
      // Check again: it may have been stored since.
      if (!insist(patience_, [&] { return forms_of(store_, layout_, segment); }).empty()) continue;
    }
    settled = settled && !is_here && is_accepted(segment);
    if (!is_here) {
      lost.insert(segment);
      continue;
    }
    mark.remove(segment);
    ++result_.vanished;
    log_.warning("{} was sent, and is gone from the store: it is sent again", segment);
  }
  if (settled) ledger_.place_is_whole(mark);
  for (const auto& history : listing.histories) {
    if (histories.contains(history.timeline) || !mark.has_history(history.timeline)) continue;
    std::erase(mark.histories, history.timeline);
    ++result_.vanished;
    log_.warning("{} was sent, and is gone from the store: it is sent again",
                 wal::history_name(history.timeline));
  }
  if (lost.empty()) return;
  record_lost(archive_, lost, cluster_, options_.shown_name, log_);
  for (const auto& segment : lost) {
    if (!is_accepted(segment))
      result_.failures.push_back(lost_error(store_.name_of(layout_.key(segment))));
    if (result_.failures.size() >= kMostRequests) break;
  }
}

void Push::on_done(const UploadItem& item, const Uploader::Result& result,
                   const std::vector<UploadItem>& /*settled*/) {
  const Threads::Lock lock(*mutex_);
  using What = Uploader::Result::What;
  if (result.what != What::gone && !result.compared) ++result_.not_compared;
  if (result.what == What::was_there) ++result_.were_there;
  if (result.what == What::stored) ++(item.segment ? result_.segments : result_.histories);
  result_.bytes += result.bytes;
  if (options_.progress) options_.progress(++done_, all_);
}

void Push::on_failed(const Error& error, std::chrono::milliseconds /*rest*/) {
  log_.debug("{}; retrying", error.what());
}

void Push::on_stuck(const UploadItem& /*item*/, const Error& error) { note(error); }

void Push::on_given_up(const Error& error) {
  const auto* const of_store = dynamic_cast<const StoreError*>(&error);
  if (of_store == nullptr || of_store->trouble() != Trouble::stopped) return note(error);
  const Threads::Lock lock(*mutex_);
  result_.stopped = true;
}

/// If threads meet the same problem at once, it is reported once.
void Push::note(const Error& error) {
  const Threads::Lock lock(*mutex_);
  const auto same = [&](const Error& each) { return each.message() == error.message(); };
  if (error.kind() == ErrorKind::conflict || error.kind() == ErrorKind::damage ||
      std::none_of(result_.failures.begin(), result_.failures.end(), same))
    result_.failures.push_back(error);
}

}  // namespace

PushResult push(io::Directory& archive, ObjectStore& store, const Layout& layout,
                const PushOptions& options, Threads& threads, Log& log) {
  archive::require_not_a_server_directory(archive);
  const auto lock = try_lock_mark(archive);
  if (!lock)
    throw Error(ErrorKind::retry, "another process is uploading this archive")
        .with("directory", archive.path())
        .hint(
            "It is a receiver with --store, or another \"pgweir store push\". Only one can upload "
            "at a time. A cron job can ignore this error.");
  return Push(archive, store, layout, options, threads, log).run();
}

}  // namespace weir::store
