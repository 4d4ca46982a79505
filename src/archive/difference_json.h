#pragma once

#include <vector>

#include "archive/difference.h"

namespace weir::archive {

/// Adds to a report for programs, of nlohmann's type, what only one of two archives has.
template <typename Json>
void add_difference(Json& json, const Difference& difference) {
  const auto ranges = [](const std::vector<SegmentRange>& found) {
    auto list = Json::array();
    for (const auto& range : found)
      list.push_back({{"first", range.first.to_string()},
                      {"last", range.last.to_string()},
                      {"segments", range.segments},
                      {"hole", range.hole}});
    return list;
  };
  json["only_here"] = ranges(difference.only_one);
  json["only_beside"] = ranges(difference.only_other);
  json["histories_only_here"] = difference.histories_only_one;
  json["histories_only_beside"] = difference.histories_only_other;
}

}  // namespace weir::archive
