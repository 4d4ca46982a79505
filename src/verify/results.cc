#include "verify/results.h"

#include <algorithm>

#include "base/error.h"

namespace weir::verify {

void Results::add(Finding finding) {
  const std::lock_guard lock(mutex_);
  const auto same = [&](const Finding& known) {
    return known.kind == finding.kind && known.file == finding.file &&
           known.found_at == finding.found_at && known.offset == finding.offset;
  };
  if (std::none_of(findings_.begin(), findings_.end(), same))
    findings_.push_back(std::move(finding));
}

void Results::note(std::string text) {
  const std::lock_guard lock(mutex_);
  notes_.push_back(std::move(text));
}

void Results::settle(std::size_t node, Outcome outcome) {
  PGWEIR_CHECK(node < outcomes_.size() && outcome.state != Outcome::State::pending);
  const std::lock_guard lock(mutex_);
  outcomes_[node] = std::move(outcome);
}

void Results::border_broken(std::size_t node, wal::Lsn end) {
  const std::lock_guard lock(mutex_);
  broken_borders_.emplace(node, end);
}

void Results::border_unread(std::size_t node, Finding finding) {
  const std::lock_guard lock(mutex_);
  unread_borders_.emplace(node, std::move(finding));
}

void Results::backup_ended(wal::TimelineId timeline, wal::Lsn end) {
  const std::lock_guard lock(mutex_);
  backup_ends_.emplace_back(timeline, end);
}

void Results::wal_level_set(wal::TimelineId timeline, WalLevelSet set) {
  const std::lock_guard lock(mutex_);
  wal_levels_.emplace(timeline, set);
}

void Results::count_file() {
  const std::lock_guard lock(mutex_);
  ++files_;
}

void Results::count_records(std::uint64_t records) {
  const std::lock_guard lock(mutex_);
  records_ += records;
}

bool Results::moved(std::uint64_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    bytes_ += bytes;
  }
  if (advance_) advance_(bytes);
  if (stop_ && stop_()) stopped_ = true;
  return !stopped_;
}

std::vector<Finding> Results::unread_borders() const {
  std::vector<Finding> unread;
  for (const auto& [node, finding] : unread_borders_)
    if (const auto state = outcome(node).state;
        state == Outcome::State::sound || state == Outcome::State::partial)
      unread.push_back(finding);
  return unread;
}

Outcome Results::outcome(std::size_t node) const {
  PGWEIR_CHECK(node < outcomes_.size());
  auto outcome = outcomes_[node];
  if (const auto broken = broken_borders_.find(node); broken != broken_borders_.end()) {
    outcome.state = Outcome::State::damaged;
    outcome.end = broken->second;
  }
  return outcome;
}

}  // namespace weir::verify
