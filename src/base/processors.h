#pragma once

namespace weir {

/// How many processors this process may run on at once: its affinity, not the whole machine. At
/// least 1.
[[nodiscard]] unsigned usable_processors();

}  // namespace weir
