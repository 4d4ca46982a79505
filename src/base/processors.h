#pragma once

namespace weir {

/// Number of CPUs that this process may use at once: its affinity mask, not the whole host. At
/// least 1.
[[nodiscard]] unsigned usable_processors();

}  // namespace weir
