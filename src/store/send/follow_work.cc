#include <algorithm>
#include <utility>

#include "archive/published_open.h"
#include "store/send/follow.h"

namespace weir::store {

void Follow::work(std::size_t worker) {
  try {
    take_turns(worker);
  } catch (...) {
    const Threads::Lock lock(*mutex_);
    failure_ = std::current_exception();
    stopping_ = true;
    notify();
  }
}

void Follow::take_turns(std::size_t worker) {
  RetryPolicy retry(options_.seed + 1 + worker);
  Threads::Lock lock(*mutex_);
  while (!stopping_) {
    const auto item = tools_ ? plan_->next(window_.size()) : std::nullopt;
    if (!item) {
      changed_->wait(lock);
      continue;
    }
    const auto tools = tools_;
    FormsThere::mapped_type there;
    if (item->segment)
      if (const auto found = there_.find(*item->segment); found != there_.end())
        there = found->second;
    lock.unlock();
    const bool good = send(*tools, *item, there);
    lock.lock();
    notify();
    if (good)
      retry.reset();
    else
      pause(lock, retry.next());
  }
}

/// Returns false if a retry may help.
bool Follow::send(const Tools& tools, const UploadItem& item,
                  const FormsThere::mapped_type& there) {
  try {
    settle(item, item.segment ? tools.uploader.segment(*item.segment, there)
                              : tools.uploader.history(item.timeline));
    return true;
  } catch (const StoreError& error) {
    if (error.trouble() != Trouble::stopped) note(error);
    const Threads::Lock lock(*mutex_);
    if (error.trouble() == Trouble::throttled) window_.on_throttled();
    plan_->again(item);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::retry) {
      note(error);
      const Threads::Lock lock(*mutex_);
      plan_->again(item);
    } else {
      note_stuck(item, "is not sent to the store, nor what is behind it", error);
      const Threads::Lock lock(*mutex_);
      plan_->stuck(item);
      return true;  // the other timelines continue
    }
  } catch (const std::exception& error) {  // out of memory
    note(Error(ErrorKind::retry, error.what()));
    const Threads::Lock lock(*mutex_);
    plan_->again(item);
  }
  return false;
}

/// Files after one that is not stored yet do not count, and stay pending.
void Follow::settle(const UploadItem& item, Uploader::Result result) {
  using What = Uploader::Result::What;
  // Each marked file has a line in a manifest (write_mark()).
  PGWEIR_CHECK(result.entry.has_value() == (result.what != What::gone));
  note_success();
  if (item.segment && result.what != What::gone) forget_published(*item.segment);
  if (result.what == What::gone && options_.on_stored_end) tell_gone(item);
  std::vector<UploadItem> sent;
  {
    const Threads::Lock lock(*mutex_);
    window_.on_done();
    trouble_.sent(item);
    if (item.segment) there_.erase(*item.segment);
    if (result.what == What::gone) {
      plan_->gone(item);
      stored_end_.gone(item);
    } else {
      plan_->stored(item);
    }
    if (result.entry) entries_.push_back(std::move(*result.entry));
    if (!result.compared) ++view_.not_compared;
    view_.sent_bytes += result.bytes;
    for (const auto& each : plan_->take_settled()) {
      if (const auto found = pending_.find(each); found != pending_.end()) {
        view_.pending_bytes -= found->second.bytes;
        pending_.erase(found);
      }
      const auto& mark = plan_->mark();
      if (each.segment ? mark.has(*each.segment) : mark.has_history(each.timeline))
        sent.push_back(each);
    }
    view_.sent_files += sent.size();
  }
  if (options_.on_sent)
    for (const auto& each : sent) options_.on_sent(each);
  tell_stored_end();
}

/// The complete segment is stored: the padded one published in its place is no longer reported.
void Follow::forget_published(wal::SegmentName segment) {
  try {
    archive::close_published_open(archive_, segment);
  } catch (const Error& error) {
    log_.warning("the record of a published open segment stays: {}", error.what());
  }
}

void Follow::note(const Error& error) {
  bool tell = false;
  {
    const Threads::Lock lock(*mutex_);
    ++view_.failures[reason_of(error)];
    tell = trouble_.failed(error, std::chrono::system_clock::now());
  }
  if (!tell) {
    log_.debug("{}; it is tried again", error.what());
    return;
  }
  log_.warning(
      "finished WAL is not sent to the store: {}; archiving goes on, and it is tried again{}",
      error.what(),
      options_.server_keeps
          ? "; the slot keeps it on the server meanwhile (--confirm stored): its pg_wal grows"
          : "");
  if (!error.hint().empty()) log_.warning("hint: {}", error.hint());
  if (options_.on_trouble) options_.on_trouble(error);
}

void Follow::note_stuck(const UploadItem& item, const char* what, const Error& error) {
  bool tell = false;
  {
    const Threads::Lock lock(*mutex_);
    ++view_.failures[reason_of(error)];
    tell = trouble_.stuck(item, error, std::chrono::system_clock::now());
  }
  if (!tell) return;
  log_.warning("{} {}: {}; archiving goes on", item.to_string(), what, error.what());
  if (!error.hint().empty()) log_.warning("hint: {}", error.hint());
  if (options_.on_trouble) options_.on_trouble(error);
}

void Follow::note_success() {
  bool over = false;
  std::size_t waiting = 0;
  {
    const Threads::Lock lock(*mutex_);
    view_.last_success = std::chrono::system_clock::now();
    over = trouble_.worked();
    view_.next_try.reset();
    waiting = pending_.size();
  }
  if (!over) return;
  log_.info("the store takes WAL again; {} files wait", waiting);
  if (options_.on_works) options_.on_works();
}

/// Or until stopped.
void Follow::pause(Threads::Lock& lock, std::chrono::milliseconds time) {
  const auto end = threads_.now() + time;
  view_.next_try = std::chrono::system_clock::now() + time;
  while (!stopping_ && threads_.now() < end) {
    if (asked_to_stop()) return;
    changed_->wait_until(lock, options_.stop ? std::min(end, threads_.now() + kAskStop) : end);
  }
}

StoreView Follow::view() const {
  const Threads::Lock lock(*mutex_);
  auto view = view_;
  for (const auto& [item, pending] : pending_)
    ++(item.segment ? view.pending_segments : view.pending_histories);
  view.pending_segments += told_.size();
  if (!pending_.empty()) {
    view.next = pending_.begin()->first.to_string();
    view.pending_since = pending_.begin()->second.since;
  } else if (!told_.empty()) {
    view.next = told_.begin()->to_string();
  }
  if (plan_ && !plan_->mark().sent.empty()) {
    const auto& mark = plan_->mark();
    const auto& size = mark.segment_size;
    view.sent_to = mark.sent.back().last;
    view.sent_lsn = size.start(view.sent_to->segno(size) + 1);
  }
  view.problem = trouble_.problem();
  return view;
}

}  // namespace weir::store
