#include "relay/cancels.h"

#include <utility>

namespace weir::relay {

Cancels::Session::Session(Cancels& cancels, wire::CancelRequest key, std::function<void()> cancel)
    : cancels_(cancels), process_(key.process) {
  const std::lock_guard lock(cancels_.mutex_);
  cancels_.sessions_.insert_or_assign(process_, Place{key.secret, std::move(cancel)});
}

Cancels::Session::~Session() {
  const std::lock_guard lock(cancels_.mutex_);
  cancels_.sessions_.erase(process_);
}

void Cancels::cancel(const wire::CancelRequest& key) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(key.process);
  if (found != sessions_.end() && found->second.secret == key.secret) found->second.cancel();
}

}  // namespace weir::relay
