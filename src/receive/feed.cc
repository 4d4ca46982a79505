#include "receive/feed.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace weir::receive {

Feed::Subscription Feed::subscribe(Listener listener, EventTypes types) {
  auto owned = std::make_unique<Listener>(std::move(listener));
  const std::unique_lock lock(mutex_);
  listeners_.push_back({owned.get(), types});
  on_changed();
  return {*this, std::move(owned)};
}

void Feed::deliver(const Event& event) const {
  const std::shared_lock lock(mutex_);
  for (const auto& [listener, types] : listeners_)
    if (types.contains(event)) (*listener)(event);
}

/// The mutex is held exclusively.
void Feed::on_changed() {
  EventTypes wanted;
  for (const auto& entry : listeners_) wanted = wanted | entry.types;
  wanted_.store(wanted, std::memory_order_release);
}

void Feed::Subscription::end() {
  if (feed_ == nullptr) return;
  const std::unique_lock lock(feed_->mutex_);
  std::erase_if(feed_->listeners_,
                [&](const Entry& entry) { return entry.listener == listener_.get(); });
  feed_->on_changed();
  feed_ = nullptr;
}

}  // namespace weir::receive
