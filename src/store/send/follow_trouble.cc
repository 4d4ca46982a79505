#include "store/send/follow_trouble.h"

#include "store/object_store.h"

namespace weir::store {

namespace {

bool needs_person(const Error& error) {
  if (const auto* const of_store = dynamic_cast<const StoreError*>(&error))
    return !may_pass(of_store->trouble());
  return error.kind() != ErrorKind::retry && error.kind() != ErrorKind::disk_full;
}

StoreView::Problem problem_of(const Error& error, StoreView::SystemTime since) {
  return {error.what(), error.hint(), reason_of(error), needs_person(error), since};
}

}  // namespace

std::string reason_of(const Error& error) {
  if (const auto* const of_store = dynamic_cast<const StoreError*>(&error)) {
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
  }
  return std::string(to_string(error.kind()));
}

bool FollowTrouble::failed(const Error& error, SystemTime now) {
  ++in_a_row_;
  problem_ = problem_of(error, problem_ ? problem_->since : now);
  const bool lately = last_told_ && now - *last_told_ < kLately;
  if ((lately || !problem_->needs_person) && in_a_row_ < kTellAfter && told_.empty()) return false;
  if (!told_.insert(problem_->reason).second) return false;
  last_told_ = now;
  return true;
}

bool FollowTrouble::worked() {
  in_a_row_ = 0;
  problem_.reset();
  const bool was_told = !told_.empty();
  told_.clear();
  return was_told;
}

bool FollowTrouble::stuck(const UploadItem& item, const Error& error, SystemTime now) {
  const auto known = stuck_.find(item);
  const bool is_new = known == stuck_.end() || known->second.text != error.what();
  stuck_.insert_or_assign(item,
                          problem_of(error, known == stuck_.end() ? now : known->second.since));
  return is_new;
}

std::optional<StoreView::Problem> FollowTrouble::problem() const {
  for (const auto& [item, problem] : stuck_)
    if (problem.needs_person) return problem;
  if (problem_) return problem_;
  if (!stuck_.empty()) return stuck_.begin()->second;
  return std::nullopt;
}

}  // namespace weir::store
