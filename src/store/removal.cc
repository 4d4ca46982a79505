#include "store/removal.h"

#include <algorithm>
#include <utility>

namespace weir::store {

std::vector<Kept> remove_patiently(ObjectStore& store, std::span<const std::string> keys,
                                   const Patience& patience) {
  std::vector<std::string> left(keys.begin(), keys.end());
  const auto is_asked = [&](const Kept& each) {
    return std::find(left.begin(), left.end(), each.key) != left.end();
  };
  try {
    return insist(patience, [&] {
      try {
        return store.remove(left);
      } catch (const StoreError& error) {
        const auto& failed = error.left();
        // (If the store names other keys, any of them may still be there.)
        if (failed.empty() || !std::all_of(failed.begin(), failed.end(), is_asked)) throw;
        std::vector<std::string> again;
        for (const auto& each : failed) again.push_back(each.key);
        left = std::move(again);
        throw;
      }
    });
  } catch (const StoreError& error) {
    // Otherwise the store itself has failed.
    if (error.left().empty() || error.left().size() >= keys.size()) throw;
    return error.left();
  }
}

}  // namespace weir::store
