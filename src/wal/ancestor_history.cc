#include "wal/ancestor_history.h"

#include <algorithm>
#include <cstddef>

#include "base/text.h"
#include "wal/timeline_history.h"

namespace weir::wal {

std::optional<std::string> ancestor_history(std::string_view descendant, TimelineId ancestor) {
  for (std::size_t begin = 0; begin < descendant.size();) {
    const auto end = std::min(descendant.find('\n', begin), descendant.size() - 1) + 1;
    const auto line = descendant.substr(begin, end - begin);
    if (parse_number<TimelineId>(line.substr(0, line.find_first_of(" \t"))) == ancestor) {
      auto content = descendant.substr(0, begin);
      // The server writes an empty line after what it has copied.
      if (content.ends_with("\n\n")) content.remove_suffix(1);
      if (!TimelineHistory::parse(ancestor, content)) return std::nullopt;
      return std::string(content);
    }
    begin = end;
  }
  return std::nullopt;
}

}  // namespace weir::wal
