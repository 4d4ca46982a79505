#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "archive/identity.h"
#include "archive/listing.h"
#include "base/log.h"
#include "io/shelf.h"
#include "store/layout.h"
#include "store/mark.h"
#include "store/object_store.h"
#include "store/upload_plan.h"
#include "store/write_once.h"

namespace weir::store {

// What is found out before anything is sent.

/// The archive's mark, if it is about this store, and what is remembered of its manifest; else one
/// that says that nothing was sent, and no manifest. Throws Error{io}.
struct UploadStart {
  Mark mark{};
  std::optional<ManifestMemory> manifest{};
};
[[nodiscard]] UploadStart starting_mark(io::Shelf& archive, const std::string& store_name,
                                        const archive::Identity& cluster, Log& log);

/// As probe_conditions(), with a warning where the store cannot keep two writers apart.
[[nodiscard]] Conditions tell_conditions(ObjectStore& store, const Layout& layout,
                                         std::uint64_t random, Log& log);

/// The forms of segments that a store has.
using FormsThere = std::map<wal::SegmentName, std::vector<archive::SegmentFileName>>;
/// Of those among `items`, which are in order, in whatever form another archiver, or we ourselves,
/// have stored them: the condition of a PUT knows one key only. `list` asks for a page of what
/// begins with the layout's wal_prefix().
[[nodiscard]] FormsThere forms_there(
    const std::vector<UploadItem>& items, wal::SegmentSize size, const Layout& layout,
    const std::function<ObjectPage(const std::string& after)>& list);

}  // namespace weir::store
