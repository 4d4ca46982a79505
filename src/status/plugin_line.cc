#include "status/plugin_line.h"

#include <algorithm>

namespace weir::status {

std::string plugin_text(std::string_view text) {
  std::string out(text);
  std::replace(out.begin(), out.end(), '|', '/');
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

}  // namespace weir::status
