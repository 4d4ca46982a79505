// One sender for both ways of uploading: `store push` offers the files of one listing and ends when
// they are sent, `store::Follow` offers new files indefinitely. They differ in how long a failure
// is retried, and in its report. The plan, the threads, and the order of "stored", "line" and
// "counts as sent" are here.

#include "store/send/sender.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "archive/published_open.h"
#include "archive/sizes.h"

namespace weir::store {

namespace {

Error being_written(const std::string& path) {
  return Error(ErrorKind::retry,
               "a segment to be uploaded is being written by another program; it is sent when it "
               "is complete")
      .with("path", path);
}

}  // namespace

SendTools::SendTools(const Uploader::Where& where, Conditions conditions,
                     archive::Identity identity, archive::Timelines histories)
    : cluster(std::move(identity)),
      timelines(std::move(histories)),
      uploader(where, conditions, cluster, timelines) {}

Sender::Sender(io::Directory& archive, Client& client, const Options& options, Threads& threads,
               Log& log)
    : archive_(archive),
      client_(client),
      options_(options),
      threads_(threads),
      log_(log),
      telling_(threads.make_mutex()),
      mutex_(threads.make_mutex()),
      changed_(threads.make_condition()),
      window_(options.jobs) {}

Sender::~Sender() {
  stop();
  join();
}

void Sender::begin(Mark mark) {
  const Threads::Lock lock(*mutex_);
  plan_.emplace(std::move(mark));
}

void Sender::use(std::shared_ptr<const SendTools> tools) {
  const Threads::Lock lock(*mutex_);
  tools_ = std::move(tools);
  plan_->order_histories(tools_->timelines);
  changed_->notify_all();
}

std::shared_ptr<const SendTools> Sender::tools() const {
  const Threads::Lock lock(*mutex_);
  return tools_;
}

void Sender::offer(const std::vector<UploadItem>& items, FormsThere there) {
  const Threads::Lock lock(*mutex_);
  for (const auto& item : items) plan_->offer(item);
  for (auto& [segment, forms] : there)
    if (!forms.empty()) there_.insert_or_assign(segment, std::move(forms));
  changed_->notify_all();
}

void Sender::resume() {
  const Threads::Lock lock(*mutex_);
  plan_->resume();
  changed_->notify_all();
}

void Sender::hold(bool held) {
  const Threads::Lock lock(*mutex_);
  if (std::exchange(held_, held) && !held) changed_->notify_all();
}

void Sender::forget(const UploadItem& item) {
  const Threads::Lock lock(*mutex_);
  plan_->forget(item);
}

void Sender::start() {
  const auto count = options_.retry_for ? std::min(options_.jobs, waiting()) : options_.jobs;
  {
    const Threads::Lock lock(*mutex_);
    working_ = count;
  }
  for (auto i = workers_.size(); i < count; ++i)
    workers_.push_back(threads_.start(
        "store", [this, i] { work(i); }, options_.priority));
}

void Sender::stop() {
  const Threads::Lock lock(*mutex_);
  stopping_ = true;
  changed_->notify_all();
}

void Sender::throw_failure() const {
  if (failure_) std::rethrow_exception(failure_);
}

bool Sender::wait_until(Threads::Time time, const Mark& written) {
  Threads::Lock lock(*mutex_);
  while (working_ > 0 && lines_.empty() && gone_.empty() && plan_->mark() == written &&
         threads_.now() < time)
    changed_->wait_until(lock, time);
  return working_ > 0;
}

Mark Sender::mark() const {
  const Threads::Lock lock(*mutex_);
  return plan_ ? plan_->mark() : Mark{};
}

bool Sender::has(const UploadItem& item) const {
  const Threads::Lock lock(*mutex_);
  return store::has(plan_->mark(), item);
}

std::size_t Sender::waiting() const {
  const Threads::Lock lock(*mutex_);
  return plan_->waiting();
}

std::vector<UploadItem> Sender::pending() const {
  const Threads::Lock lock(*mutex_);
  return plan_->pending();
}

Sender::News Sender::take_news() {
  const Threads::Lock lock(*mutex_);
  return {plan_->mark(), std::exchange(lines_, {}), std::exchange(gone_, {})};
}

bool Sender::has_news(const Mark& written) const {
  const Threads::Lock lock(*mutex_);
  return plan_ && (!lines_.empty() || !gone_.empty() || !(plan_->mark() == written));
}

void Sender::add_line(ManifestEntry entry) {
  const Threads::Lock lock(*mutex_);
  lines_.push_back(std::move(entry));
}

void Sender::work(std::size_t worker) {
  std::exception_ptr failure;
  try {
    take_turns(worker);
  } catch (...) {
    failure = std::current_exception();
  }
  {
    const Threads::Lock lock(*mutex_);
    if (failure) {
      failure_ = failure;
      stopping_ = true;
    }
    --working_;
    changed_->notify_all();
  }
  if (failure) client_.on_broken(failure);
}

void Sender::take_turns(std::size_t worker) {
  RetryPolicy retry(options_.seed + 1 + worker);
  Threads::Lock lock(*mutex_);
  while (!stopping_) {
    const auto item = tools_ && !held_ ? plan_->next(window_.size()) : std::nullopt;
    if (!item) {
      // (Otherwise a history is in progress, or the window is smaller.)
      if (options_.retry_for && plan_->under_way() == 0) return;
      changed_->wait(lock);
      continue;
    }
    const auto tools = tools_;
    Forms there;
    if (item->segment)
      if (const auto found = there_.find(*item->segment); found != there_.end())
        there = found->second;
    lock.unlock();
    const auto rest = send(*tools, *item, there, retry);
    lock.lock();
    changed_->notify_all();
    const auto end = threads_.now() + rest;
    while (!stopping_ && threads_.now() < end) changed_->wait_until(lock, end);
  }
}

/// Another program, such as an archive_command, is copying it directly to its final name, or has
/// just done so: then it is read once more.
bool Sender::is_being_written(wal::SegmentName segment, wal::SegmentSize size, const Error& error) {
  if (error.kind() != ErrorKind::damage) return false;
  try {
    const auto change =
        archive::find_recent_change(archive_, segment, size, std::chrono::system_clock::now());
    const Threads::Lock lock(*mutex_);
    return change.ends_early || (change.changed && just_changed_.insert(segment).second);
  } catch (const Error&) {
    return false;  // the first error is reported
  }
}

/// Returns how long to wait before the next file.
std::chrono::milliseconds Sender::send(const SendTools& tools, const UploadItem& item,
                                       const Forms& there, RetryPolicy& retry) {
  std::optional<Uploader::Result> result;
  try {
    result = item.segment ? tools.uploader.segment(*item.segment, there)
                          : tools.uploader.history(item.timeline);
    if (item.segment && result->what != Uploader::Result::What::gone)
      forget_published(*item.segment);
  } catch (const StoreError& error) {
    return again(item, error, retry);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    if (error.kind() == ErrorKind::retry) return again(item, error, retry);
    if (item.segment && is_being_written(*item.segment, tools.cluster.segment_size, error))
      return again(item, being_written(archive_.path_of(item.to_string())), retry);
    client_.on_stuck(item, error);
    const Threads::Lock lock(*mutex_);
    plan_->stuck(item);
    return {};                             // the other timelines continue
  } catch (const std::exception& error) {  // out of memory
    return again(item, Error(ErrorKind::retry, error.what()), retry);
  }
  settle(item, *result, retry);
  retry.reset();
  return {};
}

/// Returns as send().
std::chrono::milliseconds Sender::again(const UploadItem& item, const Error& error,
                                        RetryPolicy& retry) {
  const auto* const of_store = dynamic_cast<const StoreError*>(&error);
  const auto is = [of_store](Trouble trouble) {
    return of_store != nullptr && of_store->trouble() == trouble;
  };
  auto rest = retry_after_of(error) + retry.next();
  bool ends = false;
  if (options_.retry_for) {
    const Threads::Lock lock(*mutex_);
    const auto now = threads_.now();
    const auto until = retry_until_.try_emplace(item, now + *options_.retry_for).first->second;
    ends = now >= until || (of_store != nullptr && !may_pass(of_store->trouble()));
    rest = std::min(rest, std::chrono::ceil<std::chrono::milliseconds>(until - now));
  }
  if (ends && of_store != nullptr)
    client_.on_given_up(error);
  else if (ends)
    client_.on_stuck(item, error);
  else if (!is(Trouble::stopped))
    client_.on_failed(error, rest);
  const Threads::Lock lock(*mutex_);
  if (is(Trouble::throttled)) window_.on_throttled();
  if (ends && of_store == nullptr)
    plan_->stuck(item);
  else
    plan_->again(item);
  if (ends && of_store != nullptr) stopping_ = true;
  return ends ? std::chrono::milliseconds(0) : rest;
}

/// What follows from a file that is stored, or gone, in steps that can be repeated: as soon as the
/// plan knows, the file is not under way any more and cannot be sent again. Ends early if the
/// threads are to stop.
void Sender::settle(const UploadItem& item, const Uploader::Result& result, RetryPolicy& retry) {
  using What = Uploader::Result::What;
  const bool gone = result.what == What::gone;
  // Each marked file has a line in a manifest (Ledger).
  PGWEIR_CHECK(result.entry.has_value() == !gone);
  const Threads::Lock telling(*telling_);
  bool is_noted = false;
  bool is_known = false;
  std::vector<UploadItem> settled;
  const bool is_settled = repeat(retry, [&] {
    const Threads::Lock lock(*mutex_);
    if (!is_noted && result.entry) lines_.push_back(*result.entry);
    if (!is_noted && gone && item.segment) gone_.push_back(*item.segment);
    is_noted = true;
    if (std::exchange(is_known, true)) {
      plan_->advance(item.timeline);
    } else {
      window_.on_done();
      retry_until_.erase(item);
      if (item.segment) there_.erase(*item.segment);
      if (gone)
        plan_->gone(item);
      else
        plan_->stored(item);
    }
    settled = plan_->take_settled();
  });
  if (is_settled) repeat(retry, [&] { client_.on_done(item, result, settled); });
}

/// Until `step` succeeds. Returns false if the threads are to stop before.
template <typename Step>
bool Sender::repeat(RetryPolicy& retry, const Step& step) {
  std::optional<Threads::Time> until;  // as of a failed upload
  for (;;) {
    std::chrono::milliseconds rest{};
    try {
      step();
      return true;
    } catch (const std::exception& error) {
      const auto* const known = dynamic_cast<const Error*>(&error);
      if (known != nullptr && known->kind() == ErrorKind::durability) throw;
      const auto now = threads_.now();
      if (options_.retry_for && !until) until = now + *options_.retry_for;
      if (until && now >= *until) throw;
      rest = retry.next();
      client_.on_failed(known != nullptr ? *known : Error(ErrorKind::retry, error.what()), rest);
    }
    Threads::Lock lock(*mutex_);
    const auto end = threads_.now() + rest;
    while (!stopping_ && threads_.now() < end) changed_->wait_until(lock, end);
    if (stopping_) return false;
  }
}

/// The complete segment is stored: the padded one published in its place is no longer reported.
void Sender::forget_published(wal::SegmentName segment) {
  try {
    archive::close_published_open(archive_, segment);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    log_.warning("could not remove the record of a published partial segment: {}", error.what());
  }
}

}  // namespace weir::store
