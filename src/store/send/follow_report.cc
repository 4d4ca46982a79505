#include "store/send/follow_report.h"

#include <fmt/format.h>

#include <utility>

#include "store/object_store.h"

namespace weir::store {

namespace {

/// Number of temporary failures in a row before a report.
constexpr std::size_t kTellAfter = 4;
/// Minimum time between reports of other failures.
constexpr std::chrono::minutes kLately{1};

/// A keyword for the error: "throttled", "unreachable", "conflict", "disk_full".
std::string reason_of(const Error& error) {
  const auto* const of_store = dynamic_cast<const StoreError*>(&error);
  if (of_store == nullptr) return std::string(to_string(error.kind()));
  switch (of_store->trouble()) {
    case Trouble::refused:
      return "refused";
    case Trouble::expired:
    case Trouble::no_keys:
      return "credentials";
    case Trouble::throttled:
      return "throttled";
    case Trouble::unreachable:
      return "unreachable";
    case Trouble::clock:
      return "clock";
    case Trouble::region:
      return "region";
    case Trouble::unable:
      return "unable";
    case Trouble::stopped:
      return "stopped";
  }
  return "";
}

StoreView::Problem problem_of(const Error& error, StoreView::SystemTime since) {
  const auto* const of_store = dynamic_cast<const StoreError*>(&error);
  const bool needs_person = of_store != nullptr ? !may_pass(of_store->trouble())
                                                : error.kind() != ErrorKind::retry &&
                                                      error.kind() != ErrorKind::disk_full;
  return {error.what(), error.hint(), reason_of(error), needs_person, since};
}

}  // namespace

FollowReport::FollowReport(const std::string& shown_name, Listeners listeners, bool server_keeps,
                           Threads& threads, Log& log)
    : listeners_(std::move(listeners)),
      server_keeps_(server_keeps),
      log_(log),
      mutex_(threads.make_mutex()) {
  view_.store = shown_name;
}

void FollowReport::tell(const std::string& text, const Error& error) const {
  log_.warning("{}", text);
  if (!error.hint().empty()) log_.warning("hint: {}", error.hint());
  if (listeners_.on_trouble) listeners_.on_trouble(error);
}

/// Under the lock.
bool FollowReport::is_to_be_told(const Error& error) {
  const auto now = std::chrono::system_clock::now();
  ++view_.failures[reason_of(error)];
  ++in_a_row_;
  problem_ = problem_of(error, problem_ ? problem_->since : now);
  const bool lately = last_told_ && now - *last_told_ < kLately;
  if ((lately || !problem_->needs_person) && in_a_row_ < kTellAfter && told_.empty()) return false;
  if (!told_.insert(problem_->reason).second) return false;
  last_told_ = now;
  return true;
}

void FollowReport::failed(const Error& error) {
  Threads::Lock lock(*mutex_);
  const bool told = is_to_be_told(error);
  lock.unlock();
  if (!told) return log_.debug("{}; retrying", error.what());
  tell(fmt::format("finished WAL is not sent to the store: {}; archiving continues, and "
                   "the upload is retried{}",
                   error.what(),
                   server_keeps_ ? "; until then the slot retains this WAL on the server "
                                   "(--confirm stored), whose pg_wal grows"
                                 : ""),
       error);
}

void FollowReport::stuck(const UploadItem& item, const char* what, const Error& error) {
  Threads::Lock lock(*mutex_);
  ++view_.failures[reason_of(error)];
  auto problem = problem_of(error, std::chrono::system_clock::now());
  const auto known = stuck_.find(item);
  const bool is_new = known == stuck_.end() || known->second.text != problem.text;
  if (known != stuck_.end()) problem.since = known->second.since;
  stuck_.insert_or_assign(item, std::move(problem));
  lock.unlock();
  if (is_new)
    tell(fmt::format("{} {}: {}; archiving continues", item.to_string(), what, error.what()),
         error);
}

void FollowReport::unstuck(const UploadItem& item) {
  const Threads::Lock lock(*mutex_);
  stuck_.erase(item);
}

void FollowReport::ended(const Error& error) {
  {
    const Threads::Lock lock(*mutex_);
    ++view_.failures[reason_of(error)];
    view_.next_try.reset();
    end_ = problem_of(error, std::chrono::system_clock::now());
    end_->text = "uploads have ended until the next start: " + end_->text;
    end_->needs_person = true;
  }
  if (listeners_.on_trouble) listeners_.on_trouble(error);
}

void FollowReport::worked(std::size_t waiting) {
  Threads::Lock lock(*mutex_);
  view_.last_success = std::chrono::system_clock::now();
  view_.next_try.reset();
  in_a_row_ = 0;
  problem_.reset();
  const bool over = !told_.empty();
  told_.clear();
  lock.unlock();
  if (!over) return;
  log_.info("the store accepts WAL again; {} files are waiting to be sent", waiting);
  if (listeners_.on_works) listeners_.on_works();
}

void FollowReport::kept(const std::string& why) {
  Threads::Lock lock(*mutex_);
  const bool is_new = std::exchange(view_.kept_for, why) != why;
  lock.unlock();
  if (is_new) log_.warning("could not remove uploaded segments from the archive: {}", why);
}

/// With the most severe problem.
StoreView FollowReport::view() const {
  const Threads::Lock lock(*mutex_);
  auto view = view_;
  view.problem = problem_;
  if (!view.problem && !stuck_.empty()) view.problem = stuck_.begin()->second;
  for (const auto& [item, problem] : stuck_) {
    if (!problem.needs_person) continue;
    view.problem = problem;
    break;
  }
  if (end_) view.problem = end_;
  return view;
}

}  // namespace weir::store
