#include "receive/feed.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace weir::receive {

Feed::Subscription Feed::subscribe(Listener listener) {
  auto owned = std::make_unique<Listener>(std::move(listener));
  const std::unique_lock lock(mutex_);
  listeners_.push_back(owned.get());
  return {*this, std::move(owned)};
}

void Feed::publish(const Event& event) const {
  const std::shared_lock lock(mutex_);
  for (const auto* listener : listeners_) (*listener)(event);
}

void Feed::Subscription::end() {
  if (feed_ == nullptr) return;
  const std::unique_lock lock(feed_->mutex_);
  std::erase(feed_->listeners_, listener_.get());
  feed_ = nullptr;
}

}  // namespace weir::receive
