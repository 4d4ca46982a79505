#include "backup/standing.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "archive/backup_files.h"
#include "backup/reach.h"
#include "base/error.h"
#include "prune/backup_name.h"
#include "prune/backup_size.h"

namespace weir::backup {

namespace {

Standing describe(const std::string& directory, prune::FoundBackup found) {
  Standing standing{.why = found.problem};
  const auto inner = found.path.substr(std::min(found.path.size(), directory.size() + 1));
  standing.name = inner.substr(0, inner.find('/'));
  standing.path = directory + "/" + standing.name;
  if (inner != standing.name && inner != standing.name + "/data") {
    standing.name = inner;
    standing.path = found.path;
  }
  try {
    if (const auto files = archive::look_at_backup(found.path)) {
      if (!files->tar.empty()) standing.format = Format::tar;
      standing.bytes = prune::BackupSizes().of(*files);
    }
  } catch (const Error& error) {
    if (standing.good()) standing.why = error.what();
  }
  // A server's clock and the abbreviation of its zone may be wrong; the name is ours.
  standing.began = prune::time_of_backup_name(standing.name);
  if (!standing.began && found.point && found.point->began)
    standing.began = found.point->began->system_time();
  standing.found = std::move(found);
  return standing;
}

}  // namespace

const Standing* base_of(const std::vector<Standing>& standing, const Standing& child) {
  const Standing* parent = nullptr;
  for (const auto& other : standing)
    if (archive::is_better_parent(*child.found.point, other.found,
                                  parent == nullptr ? nullptr : &parent->found))
      parent = &other;
  return parent;
}

std::vector<Standing> find_standing(const std::string& directory,
                                    const std::vector<prune::Line>* lines, archive::Depth depth) {
  std::vector<Standing> all;
  for (auto& found : prune::find_backups({.searched = {directory}, .depth = depth}))
    all.push_back(describe(directory, std::move(found)));
  std::stable_sort(all.begin(), all.end(), [](const auto& left, const auto& right) {
    const auto place = [](const Standing& each) {
      return each.found.point ? std::pair(each.found.point->timeline, each.found.point->start)
                              : std::pair(wal::TimelineId{0}, wal::Lsn());
    };
    return place(left) < place(right);
  });
  for (auto& each : all)
    if (each.found.point && each.found.point->parent)
      if (const auto* const parent = base_of(all, each)) each.base = parent->name;
  std::set<std::string> without_wal;
  for (auto& each : all) {
    if (!each.good()) continue;
    for (const auto* child = &each; child->found.point->parent && each.good();) {
      const auto* const parent = base_of(all, *child);
      if (parent == nullptr)
        each.why = fmt::format(
            "it is incremental to a backup that started at {} on timeline {}, which does not exist "
            "here",
            child->found.point->parent->start, child->found.point->parent->timeline);
      else if (!parent->good() && !without_wal.contains(parent->name))
        each.why = fmt::format("it is incremental to {}, which does not count", parent->name);
      else if (child->found.in_tar || parent->found.in_tar)
        each.why = archive::kTarInChain;
      else
        child = parent;
    }
    if (!each.good() || lines == nullptr) continue;
    const auto reach = find_reach(*each.found.point, *lines);
    if (reach.state == Reach::State::covered) {
      const auto& newest = lines->back().history;
      if (!prune::lies_on(*each.found.point, newest))
        each.abandoned = prune::not_in_history_of(newest.timeline());
      continue;
    }
    each.why = reach.what;
    without_wal.insert(each.name);
  }
  for (const auto& each : all) {
    if (!each.good()) continue;
    for (const auto* child = &each; child != nullptr && child->found.point->parent;) {
      child = base_of(all, *child);
      for (auto& other : all)
        if (&other == child && !other.good()) other.for_others = true;
    }
  }
  return all;
}

const Standing* newest_base(const std::vector<Standing>& standing,
                            const wal::TimelineHistory& history) {
  for (auto each = standing.rbegin(); each != standing.rend(); ++each)
    if (each->good() && each->format == Format::plain && each->found.point &&
        prune::lies_on(*each->found.point, history))
      return &*each;
  return nullptr;
}

std::size_t length_of_chain(const std::vector<Standing>& standing, const Standing& last) {
  std::size_t length = 1;
  for (const auto* child = &last; child->found.point->parent; ++length) {
    child = base_of(standing, *child);
    if (child == nullptr) break;
  }
  return length;
}

}  // namespace weir::backup
