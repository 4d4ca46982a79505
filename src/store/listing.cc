#include "store/listing.h"

namespace weir::store {

void for_each_listed(std::string after,
                     const std::function<ObjectPage(const std::string& after)>& page,
                     const std::function<bool(const ObjectEntry&)>& take) {
  for (;;) {
    const auto listed = page(after);
    for (const auto& object : listed.objects)
      if (!take(object)) return;
    if (!listed.more || listed.objects.empty()) return;
    after = listed.objects.back().key;
  }
}

void for_each_object(ObjectStore& store, const std::string& prefix, const Patience& patience,
                     const std::function<void(const ObjectEntry&)>& take) {
  for_each_listed(
      {},
      [&](const std::string& after) {
        return insist(patience, [&] { return store.list(prefix, after, kListingPage); });
      },
      [&](const ObjectEntry& object) {
        take(object);
        return true;
      });
}

std::vector<StoredForm> forms_of(ObjectStore& store, const Layout& layout,
                                 wal::SegmentName segment) {
  std::vector<StoredForm> forms;
  for_each_object(store, layout.key(segment), kOnce, [&](const ObjectEntry& object) {
    const auto name = layout.file_of(object.key);
    const auto file = name ? archive::SegmentFileName::parse(*name) : std::nullopt;
    if (file && file->segment == segment && !file->partial) forms.push_back({*file, object.key});
  });
  return forms;
}

}  // namespace weir::store
