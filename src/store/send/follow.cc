// Uploads to a store do not delay a receiver (`store::Follow`, `cli/store_feed`): the receiver's
// threads add a segment's name to a set, and continue. One thread asks the store what it has (one
// LIST for new objects, since another archiver may have put a segment there in another form),
// writes the mark and removes local segments that are no longer needed; `--store-jobs` others read,
// verify and upload (Sender). Each failure is retried after a random time up to a minute, including
// rejections, because keys may be corrected while the receiver runs. With `--compress` a segment
// waits for its compressed form, so that it has only one object.

#include "store/send/follow.h"

#include <algorithm>
#include <limits>
#include <system_error>
#include <utility>

#include "archive/forms.h"
#include "archive/timelines.h"
#include "base/exit_status.h"
#include "store/ledger/lost_segments.h"

namespace weir::store {

namespace {

using namespace std::chrono_literals;

constexpr std::chrono::milliseconds kAskStop{200};
/// If another process uploads the archive.
constexpr auto kLockAgain = 1s;
/// Listings take at most a hundredth of the time.
constexpr int kListingShare = 100;
constexpr auto kMarkAgain = 5s;
/// While the segment before the partial one is not sent yet.
constexpr auto kOpenAgain = 1s;
constexpr auto kDoubtEvery = 30s;

/// Stands for the manifest in reports about files: no file has this timeline.
const UploadItem kManifest{0, {}};

}  // namespace

Follow::Follow(io::Directory& archive, ObjectStore& store, const Layout& layout,
               FollowOptions options, Threads& threads, Log& log)
    : archive_(archive),
      store_(store),
      layout_(layout),
      options_(std::move(options)),
      threads_(threads),
      log_(log),
      mutex_(threads.make_mutex()),
      changed_(threads.make_condition()),
      report_(options_.shown_name, {options_.on_trouble, options_.on_works}, options_.server_keeps,
              threads, log),
      ledger_(archive, store, layout, {options_.store_name, options_.manifest_key, options_.seed},
              log),
      audit_(archive, store, layout,
             {.place = options_.shown_name,
              .every = options_.audit_every,
              .keys = proofs_of(options_.manifest_key),
              .send_again =
                  [this](const UploadItem& item) {
                    sender_.forget(item);
                    report_.change([](StoreView& view) { ++view.sent_again; });
                    const auto file = item.segment ? archive::find_finished(archive_, *item.segment)
                                                   : std::nullopt;
                    add(item, file ? &*file : nullptr);
                  },
              .recorded = [this] { look_.due = Time{}; },
              .emptied =
                  [this] {
                    ledger_.place_was_emptied();
                    next_audit_.due = Time{};  // what it lacks is sent again at once
                  },
              .whole = [this] { ledger_.place_is_whole(sender_.mark()); }},
             threads, report_, log),
      sender_(archive, *this,
              {.jobs = options_.jobs, .priority = options_.priority, .seed = options_.seed},
              threads, log) {
  if (options_.open_every)
    open_segment_.emplace(archive_, store_, layout_, options_.sealing, options_.seed);
  if (options_.keep_local)
    removal_.emplace(
        archive_, store_, layout_,
        LocalRemoval::Options{
            .keep = *options_.keep_local,
            .every = options_.keep_every,
            .keys = proofs_of(options_.manifest_key),
            .sent_again = [this](ManifestEntry line) { sender_.add_line(std::move(line)); },
            .require_place = [this] { require_place(); },
            .stopping = [this] { return stopping_.load(); },
            .durable_end = options_.durable_end},
        threads_, report_, log_);
}

void Follow::run() {
  try {
    send_until_stopped();
  } catch (const std::exception&) {
    report_.ended(weir::error_of(std::current_exception()));
    throw;
  }
}

void Follow::send_until_stopped() {
  struct Joined {  // after an exception, too
    Follow& follow;
    ~Joined() {
      follow.stop();
      follow.sender_.join();
    }
  };
  {
    const Joined joined{*this};
    coordinate();
  }
  sender_.throw_failure();
  try {
    if (has_news()) static_cast<void>(write_mark());
  } catch (const Error& error) {
    tell_lost(error);
    throw;
  }
}

void Follow::tell_lost(const Error& error) const {
  if (error.kind() == ErrorKind::durability && options_.durability_lost)
    options_.durability_lost(error);
}

void Follow::coordinate() {
  RetryPolicy retry(options_.seed);
  bool started = false;
  while (!stopping_) {
    std::uint64_t seen = 0;
    {
      const Threads::Lock lock(*mutex_);
      seen = changes_;
    }
    std::optional<std::chrono::milliseconds> rest;
    try {
      if (asked_to_stop()) break;
      if (!started) sender_.start();
      started = true;
      step();
      retry.reset();
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::durability) {
        tell_lost(error);  // before the workers are joined
        throw;
      }
      if (stopping_ || asked_to_stop()) break;
      report_.failed(error);
      rest = retry_after_of(error) + retry.next();
    } catch (const std::system_error& error) {  // no thread can be started
      report_.failed(unexpected(error));
      rest = retry.next();
    } catch (const std::exception& error) {
      report_.failed(Error(ErrorKind::retry, error.what()));
      rest = retry.next();
    }
    if (rest) {
      pause(*rest);
      continue;
    }
    const auto until = next_due();
    Threads::Lock lock(*mutex_);
    if (!stopping_ && changes_ == seen) changed_->wait_until(lock, until);
  }
}

/// Or until stopped.
void Follow::pause(std::chrono::milliseconds time) {
  const auto end = threads_.now() + time;
  report_.change([&](StoreView& view) { view.next_try = std::chrono::system_clock::now() + time; });
  Threads::Lock lock(*mutex_);
  while (!stopping_ && threads_.now() < end) {
    if (asked_to_stop()) return;
    changed_->wait_until(lock, options_.stop ? std::min(end, threads_.now() + kAskStop) : end);
  }
}

void Follow::stop() {
  sender_.stop();
  const Threads::Lock lock(*mutex_);
  stopping_ = true;
  notify();
}

void Follow::worked() {
  std::size_t waiting = 0;
  {
    const Threads::Lock lock(*mutex_);
    waiting = pending_.size();
  }
  report_.worked(waiting);
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

/// The coordinating thread: all that is due, in this order.
void Follow::step() {
  if (!take_lock()) return;
  {
    const Threads::Lock lock(*mutex_);
    if (std::exchange(look_now_, false) || (!cluster_ && !told_.empty())) look_.due = Time{};
  }
  turn(look_);
  if (!cluster_) return;
  turn(mark_);
  take_told();
  ask();
  tell_stored_end();
  for (auto& round : others_) turn(round);
}

void Follow::turn(Round& round) {
  if (wants(round) && threads_.now() >= round.due) round.due = (this->*round.look)();
}

Follow::Time Follow::next_due() const {
  auto due = look_.due;
  if (options_.stop) due = std::min(due, threads_.now() + kAskStop);
  if (wants(mark_)) due = std::min(due, mark_.due);
  for (const auto& round : others_)
    if (wants(round)) due = std::min(due, round.due);
  return due;
}

bool Follow::take_lock() {
  if (mark_lock_) return true;
  mark_lock_ = try_lock_mark(archive_);
  if (mark_lock_) return true;
  if (!std::exchange(told_of_lock_, true))
    log_.info("another process is uploading this archive; waiting for it to end");
  look_.due = threads_.now() + kLockAgain;
  return false;
}

// ---- what is in the archive

/// Finds what no event reports: existing files at startup, imports, files completed by another
/// receiver.
Follow::Time Follow::look() {
  const auto before = threads_.now();
  {
    const Threads::Lock lock(*mutex_);
    seen_stream_ = stream_;
  }
  const auto listing = archive::list_archive_names(archive_);
  if (!cluster_)
    if (const auto identity = archive::read_identity(archive_, listing)) {
      const auto& start = ledger_.start(*identity);
      {
        const Threads::Lock lock(*mutex_);
        listed_ = start;
      }
      sender_.begin(start);
      cluster_ = identity;
    }
  losses_ = read_loss_records(archive_, listing, log_, losses_);
  if (cluster_) look_at(listing);
  const auto took = threads_.now() - before;
  const bool soon = !raw_.empty() || (!cluster_ && needs_tools());
  return threads_.now() + std::max<std::chrono::nanoseconds>(
                              soon ? std::min(options_.look_every, 1'000ms) : options_.look_every,
                              kListingShare * took);
}

void Follow::look_at(const archive::Listing& listing) {
  begin_stored_end(listing);
  for (const auto& history : listing.histories) add({history.timeline}, nullptr);
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
      add(item, &name);
  }
  raw_ = std::move(raw);
  let_gone_go();
  std::set<wal::TimelineId> histories;
  for (const auto& history : listing.histories) histories.insert(history.timeline);
  if (sender_.tools() && histories != histories_) make_tools(listing);
}

bool Follow::known(const UploadItem& item) const {
  const Threads::Lock lock(*mutex_);
  return pending_.contains(item) || sender_.has(item);
}

void Follow::add(const UploadItem& item, const archive::SegmentFileName* file) {
  if (known(item)) return;
  const auto entry = archive_.find(file != nullptr ? file->to_string() : item.to_string());
  if (file != nullptr && !entry) return;  // compressed meanwhile: the next listing finds it
  const auto now = std::chrono::system_clock::now();
  const Threads::Lock lock(*mutex_);
  pending_[item] = {entry ? std::min(entry->modified, now) : now, entry ? entry->size : 0, false};
}

/// Processes the receiver's notifications.
void Follow::take_told() {
  std::set<wal::SegmentName> told;
  {
    const auto now = std::chrono::system_clock::now();
    const Threads::Lock lock(*mutex_);
    told.swap(told_);
    // If the clock was set back, a time in the future would delay the alert of what waits too long.
    for (auto& [item, pending] : pending_) pending.since = std::min(pending.since, now);
  }
  for (const auto& segment : told) {
    if (!segment.fits(cluster_->segment_size)) continue;
    const auto file = archive::find_finished(archive_, segment);
    if (file) add({segment.timeline(), segment}, &*file);
    // Its history names its parent timeline.
    if (segment.timeline() > 1 && !histories_.contains(segment.timeline())) look_.due = Time{};
  }
}

// ---- what the store has

/// Checks what the store has of the next files, and passes them to the sender.
void Follow::ask() {
  const auto waiting = sender_.waiting();
  if (waiting > 0 && ledger_.is_open()) require_place();  // what was offered is sent meanwhile
  if (waiting > 2 * options_.jobs) return;
  std::vector<UploadItem> items;
  {
    const Threads::Lock lock(*mutex_);
    // All histories, which the plan orders, then segments.
    constexpr auto kLast = std::numeric_limits<wal::TimelineId>::max();
    for (auto each = pending_.begin(); each != pending_.end();) {
      const auto& [item, pending] = *each;
      if (!item.segment && !pending.offered) items.push_back(item);
      each =
          item.timeline == kLast ? pending_.end() : pending_.lower_bound({item.timeline + 1, {}});
    }
    for (const auto& [item, pending] : pending_) {
      if (items.size() >= kListingPage) break;
      if (item.segment && !pending.offered) items.push_back(item);
    }
  }
  const bool to_look = !sender_.tools() && (needs_tools() || !sender_.mark().sent.empty());
  if (items.empty() && !to_look && losses_ == mirrored_) return;
  if (!ledger_.is_open()) {
    while (!ledger_.is_open()) ledger_.open_further();
    if (ledger_.was_emptied()) audit_.place_was_emptied();
    place_due_ = threads_.now() + options_.place_every;
    doubt_begins();
    worked();
  }
  require_place();
  // Before the WAL after a hole, so that the hole is known when that WAL is found.
  if (losses_ != mirrored_) {
    mirror_losses(losses_, store_, layout_, {.retry_for = 0ms, .seed = options_.seed});
    mirrored_ = losses_;
  }
  if (!sender_.tools()) make_tools(archive::list_archive_names(archive_));
  if (items.empty()) return;
  auto there = forms_there(items, cluster_->segment_size, layout_, [&](const auto& after) {
    return store_.list(layout_.wal_prefix(), after, kListingPage);
  });
  {
    const Threads::Lock lock(*mutex_);
    for (const auto& item : items) pending_.at(item).offered = true;
  }
  worked();
  sender_.offer(items, std::move(there));
}

/// Before anything is stored, and before the store is asked whether something can be removed: since
/// the last audit the place may have been emptied, and claimed by another cluster.
void Follow::require_place() {
  if (threads_.now() < place_due_) return;
  try {
    audit_.look_at_place(*cluster_);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::conflict) sender_.hold(true);
    throw;
  }
  sender_.hold(false);
  place_due_ = threads_.now() + options_.place_every;
}

void Follow::make_tools(const archive::Listing& listing) {
  sender_.use(std::make_shared<const SendTools>(
      Uploader::Where{archive_, store_, layout_, options_.sealing, options_.compression},
      ledger_.conditions(), *cluster_, archive::Timelines::read(archive_, listing)));
  histories_.clear();
  for (const auto& history : listing.histories) histories_.insert(history.timeline);
}

bool Follow::has_news() const {
  return ledger_.is_open() &&
         (ledger_.due() || !new_gone_.empty() || sender_.has_news(ledger_.written()));
}

/// Called by this thread only, and never delays a request. A full disk does not end it: the mark
/// may lag.
Follow::Time Follow::write_mark() {
  auto news = sender_.take_news();
  ledger_.add(std::move(news.lines));
  if (!record_gone(news.gone)) return threads_.now() + kMarkAgain;
  if (!put_lines()) return threads_.now() + kMarkAgain + lines_wait_;
  {
    const Threads::Lock lock(*mutex_);
    listed_ = news.mark;
  }
  try {
    ledger_.keep(news.mark);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    report_.failed(error);
    return threads_.now() + kMarkAgain;
  }
  if (removal_) remove_.due = std::min(remove_.due, removal_->not_before());  // more may be removed
  return threads_.now() + options_.mark_every;
}

/// Returns false if the store rejects them. Segments are sent anyway.
bool Follow::put_lines() {
  try {
    ledger_.put();
  } catch (const StoreError& error) {
    lines_wait_ = error.retry_after();
    if (may_pass(error.trouble()))
      report_.failed(error);
    else if (error.trouble() != Trouble::stopped)
      report_.stuck(kManifest, "is not written", error);
    doubt_begins();
    return false;
  }
  report_.unstuck(kManifest);
  const auto& manifest = ledger_.manifest();
  report_.change([&](StoreView& view) {
    view.manifest = {manifest.id(), manifest.lines(), manifest.head(), manifest.full_head(),
                     manifest.is_signed()};
  });
  return true;
}

/// For a limited time.
void Follow::doubt_begins() {
  doubt_ends_ = threads_.now() + ManifestWriter::kDoubtLasts;
  doubt_.due = std::min(doubt_.due, threads_.now() + kDoubtEvery);
}

/// If the store does not support conditional writes, an older object may replace a newer one.
Follow::Time Follow::look_at_manifest() {
  const bool over = threads_.now() >= doubt_ends_;
  doubt_.due = threads_.now() + kDoubtEvery;
  ledger_.manifest().look_again();
  if (over) ledger_.manifest().end_doubt();
  return doubt_.due;
}

Follow::Time Follow::audit() { return audit_.look(sender_.mark(), *cluster_); }

Follow::Time Follow::remove_local() { return removal_->look(*sender_.tools(), ledger_.written()); }

Follow::Time Follow::resume() {
  sender_.resume();
  return threads_.now() + options_.resume_every;
}

// ---- what is being written

/// Sends the flushed part of the segment that is being written.
Follow::Time Follow::send_open() {
  open_.due = threads_.now() + *options_.open_every;
  const auto tools = sender_.tools();
  const auto mark = sender_.mark();
  const auto durable = options_.durable_end ? options_.durable_end() : std::nullopt;
  // Without its history no recovery could follow it, nor without the segment before it.
  const bool follows = durable && is_previous_sent(*durable, mark, tools->timelines);
  if (durable && !follows) open_.due = std::min(open_.due, threads_.now() + kOpenAgain);
  if (follows && (durable->timeline == 1 || mark.has_history(durable->timeline))) {
    if (open_segment_->has_more(*durable, cluster_->segment_size)) require_place();
    try {
      if (const auto sent = open_segment_->send(*durable, tools->cluster, tools->timelines)) {
        {
          const Threads::Lock lock(*mutex_);
          stored_end_.on_open(sent->segment, sent->end);
        }
        worked();
        report_.change([&](StoreView& view) {
          view.open_lsn = sent->end;
          view.open_sent = std::chrono::system_clock::now();
          view.sent_bytes += sent->bytes;
          ++view.open_objects;
        });
        tell_stored_end();
      }
    } catch (const StoreError&) {
      throw;
    } catch (const Error& error) {  // complete files are sent anyway
      if (error.kind() == ErrorKind::durability) throw;
      report_.failed(error);
    }
  }
  if (const auto kept = open_segment_->tidy_up(mark); !kept.empty())
    log_.warning(
        "could not remove older objects of the partial segment from the store: {}; permit the "
        "credentials to remove objects below open/, or let a lifecycle rule remove them",
        kept);
  return open_.due;
}

/// The segment that a recovery reads before the one being written: after a timeline switch that is
/// the parent's. Or it is not here: it never was, or is in a hole. (If it waits for a long time, a
/// recovery can use what the store has of it.)
bool Follow::is_previous_sent(const archive::DurableEnd& durable, const Mark& mark,
                              const archive::Timelines& timelines) {
  const auto& size = cluster_->segment_size;
  const auto segno = size.segno(durable.flush);
  if (segno == 0) return true;
  const auto history = timelines.history(durable.timeline);
  const auto timeline =
      history ? archive::timeline_of_segment(*history, segno - 1, size) : durable.timeline;
  const wal::SegmentName previous(timeline, segno - 1, size);
  return mark.has(previous) || !archive::find_finished(archive_, previous);
}

/// With a listing younger than the stream: files completed since then are after its start.
void Follow::begin_stored_end(const archive::Listing& listing) {
  if (!options_.on_stored_end || !seen_stream_) return;
  std::set<UploadItem> finished;
  for (const auto& history : listing.histories) finished.insert({history.timeline});
  for (const auto& entry : listing.segments)
    if (!entry.name.partial && entry.name.segment.fits(cluster_->segment_size))
      finished.insert({entry.name.segment.timeline(), entry.name.segment});
  const auto timeline = seen_stream_->timeline;
  auto history = archive::Timelines::read(archive_, listing).history(timeline);
  // Its file is not here: its ancestors are unknown.
  if (timeline > 1 && history && history->ancestors().empty()) history.reset();
  const Threads::Lock lock(*mutex_);
  if (stream_ != seen_stream_) return;  // another one has begun meanwhile
  stored_end_.begin(*stream_, finished, confirmable(), history);
  stream_.reset();
}

/// A file completed here, and now missing both here and in the store, will not reappear: waiting
/// for it would make the server retain WAL forever, to no use.
void Follow::let_gone_go() {
  if (!options_.on_stored_end) return;
  const auto durable = options_.durable_end ? options_.durable_end() : std::nullopt;
  std::vector<UploadItem> items;
  {
    const Threads::Lock lock(*mutex_);
    const auto timeline = stored_end_.timeline();
    items = stored_end_.waits_for(
        sender_.mark(), durable && durable->timeline == timeline ? durable->flush : wal::Lsn());
    std::erase_if(items, [&](const UploadItem& item) { return pending_.contains(item); });
  }
  std::vector<wal::SegmentName> gone;
  for (const auto& item : items) {
    if (is_here(item)) continue;
    tell_gone(item);
    if (item.segment) gone.push_back(*item.segment);
    const Threads::Lock lock(*mutex_);
    stored_end_.gone(item);
  }
  static_cast<void>(record_gone(gone));
}

void Follow::tell_gone(const UploadItem& item) {
  log_.warning("{} is gone from the archive, and was not sent to the store{}", item.to_string(),
               options_.on_stored_end ? ": later WAL is confirmed to the server without it" : "");
}

/// The store lacks them, behind WAL that it has: recorded before the mark that passes them is
/// written. All since the start, so that adjacent ones are one hole; those that have come back are
/// sent. Returns false if they could not be recorded now.
bool Follow::record_gone(const std::vector<wal::SegmentName>& fresh) {
  new_gone_.insert(fresh.begin(), fresh.end());
  if (new_gone_.empty()) return true;
  auto gone = recorded_gone_;
  for (const auto& segment : new_gone_)
    if (!is_here({segment.timeline(), segment})) gone.insert(segment);
  const auto mark = sender_.mark();
  std::erase_if(gone, [&](wal::SegmentName segment) { return mark.has(segment); });
  try {
    if (record_lost(archive_, gone, *cluster_, options_.shown_name, log_, Lost::before_upload))
      look_.due = Time{};
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    report_.failed(error);
    return false;
  }
  recorded_gone_ = std::move(gone);
  new_gone_.clear();
  return true;
}

bool Follow::is_here(const UploadItem& item) {
  if (!item.segment) return archive_.find(item.to_string()).has_value();
  // Checked twice: a file may be renamed to another form once.
  return archive::find_finished(archive_, *item.segment) ||
         archive::find_finished(archive_, *item.segment);
}

/// Under the lock. What no signed line lists is rejected by readers with the public key, and no
/// later archiver that does not have it can list it: the server must retain it until then. (Not for
/// the lines that wait until they fill an object, since no object can be replaced: 255 segments
/// would be retained.)
Mark Follow::confirmable() const { return options_.manifest_key ? listed_ : sender_.mark(); }

void Follow::tell_stored_end() {
  if (!options_.on_stored_end) return;
  // (Before that, it was not checked that the place belongs to the archive.)
  if (!sender_.tools()) return;
  std::optional<StoredEnd::Position> position;
  bool is_new = false;
  {
    const Threads::Lock lock(*mutex_);
    position = stored_end_.position(confirmable());
    if (!position) return;
    report_.change([&](StoreView& view) {
      is_new = view.stored_end != position;
      view.stored_end = position;
    });
  }
  if (is_new) options_.on_stored_end(*position);
}

// ---- what becomes of the files

void Follow::on_done(const UploadItem& item, const Uploader::Result& result,
                     const std::vector<UploadItem>& settled) {
  const bool gone = result.what == Uploader::Result::What::gone;
  std::size_t waiting = 0;
  std::vector<UploadItem> sent;
  {
    const Threads::Lock lock(*mutex_);
    waiting = pending_.size();
    if (gone) stored_end_.gone(item);
    for (const auto& each : settled) {
      pending_.erase(each);
      if (sender_.has(each)) sent.push_back(each);
    }
    notify();
  }
  report_.worked(waiting);
  report_.unstuck(item);
  if (gone) tell_gone(item);
  if (options_.on_sent)
    for (const auto& each : sent) options_.on_sent(each);
  tell_stored_end();
  report_.change([&](StoreView& view) {  // the last: after an exception all is repeated
    if (!result.compared) ++view.not_compared;
    view.sent_bytes += result.bytes;
    view.sent_files += sent.size();
  });
}

void Follow::on_failed(const Error& error, std::chrono::milliseconds rest) {
  report_.failed(error);
  report_.change([&](StoreView& view) { view.next_try = std::chrono::system_clock::now() + rest; });
}

void Follow::on_stuck(const UploadItem& item, const Error& error) {
  report_.stuck(item, "is not sent to the store, nor is later WAL of its timeline", error);
}

void Follow::on_broken(const std::exception_ptr& failure) {
  stop();
  try {
    std::rethrow_exception(failure);
  } catch (const Error& error) {
    tell_lost(error);
  } catch (...) {  // run() throws it
    return;
  }
}

/// (Nothing is given up.)
void Follow::on_given_up(const Error& error) { report_.failed(error); }

StoreView Follow::view() const {
  auto view = report_.view();
  const auto mark = sender_.mark();
  const Threads::Lock lock(*mutex_);
  for (const auto& [item, pending] : pending_) {
    ++(item.segment ? view.pending_segments : view.pending_histories);
    view.pending_bytes += pending.bytes;
  }
  view.pending_segments += told_.size();
  if (!pending_.empty()) {
    view.next = pending_.begin()->first.to_string();
    view.pending_since = pending_.begin()->second.since;
  } else if (!told_.empty()) {
    view.next = told_.begin()->to_string();
  }
  if (!mark.sent.empty()) {
    view.sent_to = mark.sent.back().last;
    view.sent_lsn = mark.segment_size.start(view.sent_to->segno(mark.segment_size) + 1);
  }
  return view;
}

}  // namespace weir::store
