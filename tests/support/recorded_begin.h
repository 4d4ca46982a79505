#pragma once

#include <memory>
#include <string>

#include "base/log.h"
#include "store/layout.h"
#include "store/ledger/manifest_writer.h"
#include "store/object_store.h"
#include "wal/segment.h"

namespace weir::test {

/// As a prune does before it removes anything.
inline void record_begin(store::ObjectStore& store, const store::Layout& layout,
                         wal::SegmentName begin,
                         const std::shared_ptr<const store::SignifyKey>& key = nullptr) {
  NullLog log;
  const std::string chain = "0123456789abcdef";
  store::ManifestWriter writer(store, layout, key, log);
  writer.start_with_store(std::string(store::kPruneChain));
  writer.append({.kind = store::ManifestEntry::Kind::begin,
                 .name = begin.to_string(),
                 .system_identifier = 4711,
                 .chain = chain,
                 .after = store::genesis_of(chain)});
  writer.put();
}

}  // namespace weir::test
