// Uploads to a store do not delay a receiver (`store::Follow`, `cli/store_feed`): the receiver's
// threads add a segment's name to a set, and continue. One thread asks the store what it has (one
// LIST for new objects, since another archiver may have put a segment there in another form),
// writes the mark and removes local segments that are no longer needed; `--store-jobs` others read,
// verify and upload. Each failure is retried after a random time up to a minute, including
// rejections, because keys may be corrected while the receiver runs. With `--compress` a segment
// waits for its compressed form, so that it has only one object. Before a segment is removed, its
// file is read again, and its digest compared with the object's. That costs as much reading as
// writing it did, but does not depend on a mark.

#include "store/send/follow.h"

#include <algorithm>
#include <utility>

#include "archive/forms.h"
#include "archive/own_names.h"
#include "store/ledger/loss_records.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

/// If another process uploads the archive.
constexpr auto kLockAgain = 1s;
/// Listings take at most a hundredth of the time.
constexpr int kListingShare = 100;
constexpr auto kMarkAgain = 5s;
constexpr auto kDoubtEvery = 30s;

/// Stands for the manifest in reports about files: no file has this timeline.
const UploadItem kManifest{0, {}};

}  // namespace

Follow::Tools::Tools(const Uploader::Where& where, Conditions conditions,
                     archive::Identity identity, archive::Timelines histories)
    : cluster(std::move(identity)),
      timelines(std::move(histories)),
      uploader(where, conditions, cluster, timelines) {}

Follow::Follow(io::Directory& archive, ObjectStore& store, const Layout& layout,
               FollowOptions options, Threads& threads, Log& log)
    : archive_(archive),
      store_(store),
      layout_(layout),
      options_(std::move(options)),
      threads_(threads),
      log_(log),
      home_(archive),
      mutex_(threads.make_mutex()),
      changed_(threads.make_condition()),
      window_(options_.jobs) {
  view_.store = options_.shown_name;
  if (options_.open_every)
    open_segment_.emplace(archive_, store_, layout_, options_.sealing, options_.seed);
}

Follow::~Follow() = default;

void Follow::run() {
  std::vector<std::unique_ptr<Threads::Thread>> workers;
  for (std::size_t i = 0; i < options_.jobs; ++i)
    workers.push_back(threads_.start(
        "store", [this, i] { work(i); }, options_.priority));
  struct StopAll {  // before the workers are joined
    Follow& follow;
    ~StopAll() { follow.stop(); }
  } const stop_all{*this};

  RetryPolicy retry(options_.seed);
  while (!stopping_) {
    std::uint64_t seen = 0;
    {
      const Threads::Lock lock(*mutex_);
      seen = changes_;
    }
    std::optional<std::chrono::milliseconds> rest;
    try {
      if (asked_to_stop()) break;
      step();
      retry.reset();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) {
        if (options_.durability_lost) options_.durability_lost(error);
        throw;
      }
      if (stopping_ || asked_to_stop()) break;
      note(error);
      rest = retry.next();
    } catch (const std::exception& error) {
      note(Error(ErrorKind::retry, error.what()));
      rest = retry.next();
    }
    Threads::Lock lock(*mutex_);
    if (rest) {
      pause(lock, *rest);
      continue;
    }
    auto until = next_look_;
    if (options_.stop) until = std::min(until, threads_.now() + kAskStop);
    if (plan_ && mark_lock_) {
      until = std::min({until, next_resume_, next_keep_, next_audit_});
      if (options_.open_every) until = std::min(until, next_open_);
      if (!entries_.empty() || !(plan_->mark() == written_)) until = std::min(until, next_mark_);
      if (manifest_ && manifest_->in_doubt()) until = std::min(until, next_doubt_);
    }
    if (!stopping_ && changes_ == seen) changed_->wait_until(lock, until);
  }
  stop();
  workers.clear();
  if (failure_) std::rethrow_exception(failure_);
  next_mark_ = Time{};
  if (plan_) write_mark();
}

void Follow::stop() {
  const Threads::Lock lock(*mutex_);
  stopping_ = true;
  notify();
}

/// Under the lock.
void Follow::notify() {
  ++changes_;
  changed_->notify_all();
}

void Follow::finished(wal::SegmentName segment) {
  const Threads::Lock lock(*mutex_);
  told_.insert(segment);
  notify();
}

void Follow::look_soon() {
  const Threads::Lock lock(*mutex_);
  look_now_ = true;
  notify();
}

void Follow::stream_begins(const StoredEnd::Stream& stream) {
  const Threads::Lock lock(*mutex_);
  stored_end_.end();
  stream_ = stream;
  look_now_ = true;
  notify();
}

/// With a listing younger than the stream: files completed since then are after its start.
void Follow::begin_stored_end(const archive::Listing& listing) {
  if (!options_.on_stored_end) return;
  std::set<UploadItem> finished;
  for (const auto& history : listing.histories) finished.insert({history.timeline});
  for (const auto& entry : listing.segments)
    if (!entry.name.partial && entry.name.segment.fits(cluster_->segment_size))
      finished.insert({entry.name.segment.timeline(), entry.name.segment});
  const Threads::Lock lock(*mutex_);
  if (!seen_stream_ || stream_ != seen_stream_) return;  // another one has begun meanwhile
  stored_end_.begin(*stream_, finished, plan_->mark());
  stream_.reset();
}

/// A file completed here, and now missing both here and in the store, will not reappear, whoever
/// removed it: waiting for it would make the server retain WAL forever, to no use.
void Follow::let_gone_go() {
  if (!options_.on_stored_end) return;
  const auto durable = options_.durable_end ? options_.durable_end() : std::nullopt;
  std::vector<UploadItem> items;
  {
    const Threads::Lock lock(*mutex_);
    const auto timeline = stored_end_.timeline();
    items = stored_end_.waits_for(
        plan_->mark(), durable && durable->timeline == timeline ? durable->flush : wal::Lsn());
    std::erase_if(items, [&](const UploadItem& item) { return pending_.contains(item); });
  }
  for (const auto& item : items) {
    // Checked twice: a file may be renamed to another form once.
    if (is_here(item) || is_here(item)) continue;
    tell_gone(item);
    const Threads::Lock lock(*mutex_);
    stored_end_.gone(item);
  }
}

void Follow::tell_gone(const UploadItem& item) {
  log_.warning(
      "{} is gone from the archive, and was not sent to the store: what is behind it is "
      "confirmed to the server without it",
      item.to_string());
}

bool Follow::is_here(const UploadItem& item) {
  if (item.segment) return archive::find_finished(archive_, *item.segment).has_value();
  return archive_.find(item.to_string()).has_value();
}

void Follow::tell_stored_end() {
  if (!options_.on_stored_end) return;
  std::optional<StoredEnd::Position> position;
  {
    const Threads::Lock lock(*mutex_);
    // (Before that, it was not checked that the place belongs to the archive.)
    if (!tools_) return;
    position = stored_end_.position(plan_->mark());
    if (!position || position == view_.stored_end) return;
    view_.stored_end = position;
  }
  options_.on_stored_end(*position);
}

/// A round of the coordinating thread.
void Follow::step() {
  if (!take_lock()) return;
  {
    const Threads::Lock lock(*mutex_);
    if (std::exchange(look_now_, false) || (!cluster_ && !told_.empty())) next_look_ = Time{};
  }
  if (threads_.now() >= next_look_) look();
  if (!cluster_) return;
  write_mark();
  take_told();
  ask();
  tell_stored_end();
  send_open();
  audit();
  keep_local();
  look_at_manifest();
  const Threads::Lock lock(*mutex_);
  if (threads_.now() >= next_resume_) {
    next_resume_ = threads_.now() + options_.resume_every;
    plan_->resume();
    changed_->notify_all();
  }
}

bool Follow::take_lock() {
  if (mark_lock_) return true;
  mark_lock_ = try_lock_mark(archive_);
  if (mark_lock_) return true;
  if (!std::exchange(told_of_lock_, true))
    log_.info("another \"pgweir store push\" sends this archive: it is waited for");
  next_look_ = threads_.now() + kLockAgain;
  return false;
}

/// Finds what no event reports: existing files at startup, imports, files completed by another
/// receiver.
void Follow::look() {
  const auto before = threads_.now();
  {
    const Threads::Lock lock(*mutex_);
    seen_stream_ = stream_;
  }
  const auto listing = archive::list_archive_names(archive_);
  const auto now = std::chrono::system_clock::now();
  if (!cluster_) {
    auto identity = archive::read_identity(archive_, listing);
    if (identity) {
      auto start = starting_mark(archive_, options_.store_name, *identity, log_);
      written_ = start.mark;
      remembered_ = std::move(start.manifest);
      const Threads::Lock lock(*mutex_);
      plan_ = std::make_unique<UploadPlan>(std::move(start.mark));
      cluster_ = std::move(identity);
    }
  }
  losses_.clear();
  for (const auto& name : listing.hidden)
    if (archive::parse_loss_record(name) || archive::parse_loss_record(name, true))
      losses_.insert(name);
  if (cluster_) {
    begin_stored_end(listing);
    for (const auto& history : listing.histories) add({history.timeline}, nullptr, now);
    const bool raw_waits =
        options_.raw_settles && options_.raw_will_change && options_.raw_will_change();
    std::set<wal::SegmentName> raw;
    const archive::SegmentFileName* last = nullptr;
    for (const auto& entry : listing.segments) {
      const auto& name = entry.name;
      if (name.partial || !name.segment.fits(cluster_->segment_size)) continue;
      if (last != nullptr && last->segment == name.segment) continue;
      last = &name;
      const UploadItem item{name.segment.timeline(), name.segment};
      if (known(item)) continue;
      if (options_.raw_settles && name.method == codec::Method::none &&
          (raw_waits || !raw_.contains(name.segment)))
        raw.insert(name.segment);
      else
        add(item, &name, now);
    }
    raw_ = std::move(raw);
    let_gone_go();
    std::set<wal::TimelineId> histories;
    for (const auto& history : listing.histories) histories.insert(history.timeline);
    if (tools_ && histories != histories_) {
      auto tools = std::make_shared<Tools>(
          Uploader::Where{archive_, store_, layout_, options_.sealing, options_.compression},
          *conditions_, *cluster_, archive::Timelines::read(archive_, listing));
      const Threads::Lock lock(*mutex_);
      tools_ = std::move(tools);
      histories_ = std::move(histories);
    }
  }
  const auto took = threads_.now() - before;
  const bool soon = !raw_.empty() || (!cluster_ && needs_tools());
  next_look_ =
      threads_.now() + std::max<std::chrono::nanoseconds>(
                           soon ? std::min(options_.look_every, 1'000ms) : options_.look_every,
                           kListingShare * took);
}

bool Follow::known(const UploadItem& item) const {
  const Threads::Lock lock(*mutex_);
  const auto& mark = plan_->mark();
  return (item.segment ? mark.has(*item.segment) : mark.has_history(item.timeline)) ||
         pending_.contains(item);
}

void Follow::add(const UploadItem& item, const archive::SegmentFileName* file, SystemTime now) {
  if (known(item)) return;
  const auto entry = archive_.find(file != nullptr ? file->to_string() : item.to_string());
  if (file != nullptr && !entry) return;  // compressed meanwhile: the next listing finds it
  const Threads::Lock lock(*mutex_);
  pending_[item] = {entry ? std::min(entry->modified, now) : now, entry ? entry->size : 0, false};
  view_.pending_bytes += pending_[item].bytes;
}

/// Processes the receiver's notifications.
void Follow::take_told() {
  std::set<wal::SegmentName> told;
  {
    const Threads::Lock lock(*mutex_);
    told.swap(told_);
  }
  const auto now = std::chrono::system_clock::now();
  for (const auto& segment : told) {
    if (!segment.fits(cluster_->segment_size)) continue;
    const auto file = archive::find_finished(archive_, segment);
    if (file) add({segment.timeline(), segment}, &*file, now);
    // Its history names its parent timeline.
    if (segment.timeline() > 1 && !histories_.contains(segment.timeline())) next_look_ = Time{};
  }
}

/// Checks what the store has of the next files, and passes them to the workers.
void Follow::ask() {
  std::vector<UploadItem> items;
  {
    const Threads::Lock lock(*mutex_);
    if (plan_->waiting() > 2 * options_.jobs) return;
    for (const auto& [item, pending] : pending_)
      if (!pending.offered) {
        items.push_back(item);
        if (items.size() == kListingPage) break;
      }
  }
  bool to_look = false;
  {
    const Threads::Lock lock(*mutex_);
    to_look = !tools_ && (!plan_->mark().sent.empty() || needs_tools());
  }
  if (items.empty() && !to_look && losses_ == mirrored_) return;
  if (!conditions_) conditions_ = tell_conditions(store_, layout_, options_.seed, log_);
  if (!place_is_ours_) {
    if (!place_)
      place_.emplace(
          store_, layout_,
          ClusterRecord{cluster_->system_identifier, cluster_->segment_size, layout_.form()});
    place_->require(*conditions_);
    place_is_ours_ = true;
    place_.reset();
    note_success();
  }
  if (!manifest_) {
    auto manifest = std::make_unique<ManifestWriter>(store_, layout_, options_.manifest_key, log_,
                                                     *conditions_);
    manifest->start(remembered_, new_manifest_id());
    manifest_ = std::move(manifest);
    doubt_begins();
  }
  // Before the WAL after a hole, so that the hole is known when that WAL is found.
  if (losses_ != mirrored_) {
    mirror_losses(archive_, archive::list_archive_names(archive_), store_, layout_,
                  {.retry_for = 0ms, .seed = options_.seed});
    mirrored_ = losses_;
  }
  if (!tools_) {
    const auto listing = archive::list_archive_names(archive_);
    auto tools = std::make_shared<Tools>(
        Uploader::Where{archive_, store_, layout_, options_.sealing, options_.compression},
        *conditions_, *cluster_, archive::Timelines::read(archive_, listing));
    for (const auto& history : listing.histories) histories_.insert(history.timeline);
    const Threads::Lock lock(*mutex_);
    tools_ = std::move(tools);
    next_keep_ = next_audit_ = Time{};
  }
  if (items.empty()) return;
  auto there = forms_there(items, cluster_->segment_size, layout_, [&](const auto& after) {
    return store_.list(layout_.wal_prefix(), after, kListingPage);
  });
  note_success();
  const Threads::Lock lock(*mutex_);
  for (const auto& item : items) {
    plan_->offer(item);
    pending_.at(item).offered = true;
  }
  for (auto& [segment, forms] : there)
    if (!forms.empty()) there_.insert_or_assign(segment, std::move(forms));
  changed_->notify_all();
}

/// Called by this thread only, and never delays a request. A full disk does not end it: the mark
/// may lag.
void Follow::write_mark() {
  Mark mark;
  std::vector<ManifestEntry> entries;
  {
    const Threads::Lock lock(*mutex_);
    if (threads_.now() < next_mark_) return;
    mark = plan_->mark();
    if (!manifest_) return;  // this process has sent nothing
    if (mark == written_ && entries_.empty() && !manifest_->due()) return;
    entries.swap(entries_);
  }
  // The lines first: every marked file has a line, even after a power failure. (Files with a line
  // that are not marked are checked, and get a line, again.)
  if (!write_manifest(std::move(entries))) {
    next_mark_ = threads_.now() + kMarkAgain;
    return;
  }
  PGWEIR_CHECK(!manifest_->due());
  try {
    keep_mark(home_, mark, manifest_->memory());
    written_ = std::move(mark);
    next_mark_ = threads_.now() + options_.mark_every;
    next_keep_ = std::min(next_keep_, keep_not_before_);  // more may be removed
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    next_mark_ = threads_.now() + kMarkAgain;
    note(error);
  }
}

/// For a limited time.
void Follow::doubt_begins() {
  doubt_ends_ = threads_.now() + ManifestWriter::kDoubtLasts;
  next_doubt_ = std::min(next_doubt_, threads_.now() + kDoubtEvery);
}

/// If the store does not support conditional writes, an older object may replace a newer one.
void Follow::look_at_manifest() {
  if (!manifest_ || !manifest_->in_doubt() || threads_.now() < next_doubt_) return;
  const bool over = threads_.now() >= doubt_ends_;
  next_doubt_ = threads_.now() + kDoubtEvery;
  manifest_->look_again();
  if (over) manifest_->end_doubt();
}

/// Returns false if the store rejects it. Segments are sent anyway.
bool Follow::write_manifest(std::vector<ManifestEntry> entries) {
  for (auto& entry : entries) manifest_->append(std::move(entry));
  try {
    manifest_->put();
  } catch (const StoreError& error) {
    if (may_pass(error.trouble()))
      note(error);
    else if (error.trouble() != Trouble::stopped)
      note_stuck(kManifest, "is not written", error);
    doubt_begins();
    return false;
  }
  const Threads::Lock lock(*mutex_);
  trouble_.sent(kManifest);
  view_.manifest = {manifest_->id(), manifest_->lines(), manifest_->head(), manifest_->full_head(),
                    manifest_->is_signed()};
  return true;
}

}  // namespace weir::store
