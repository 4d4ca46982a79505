#include "archive/other_forms.h"

#include <algorithm>

#include "archive/forms.h"

namespace weir::archive {

std::optional<OtherFile> parse_other_form(std::string_view name) {
  for (const auto& form : kOtherForms) {
    if (!name.ends_with(form.suffix)) continue;
    const auto plain = name.substr(0, name.size() - form.suffix.size());
    if (const auto file = SegmentFileName::parse(plain); file && !file->partial)
      return OtherFile{file->segment.timeline(), file->segment, &form};
    if (const auto history = parse_history_name(plain))
      return OtherFile{history->timeline, {}, &form};
  }
  return std::nullopt;
}

std::optional<SegmentFileName> parse_rsync_copy(std::string_view name, const Listing& listing) {
  constexpr std::size_t kRandom = 7;  // with the dot before it; of mkstemp()
  if (name.size() <= kRandom || !name.starts_with('.') || name[name.size() - kRandom] != '.')
    return std::nullopt;
  const auto copied = SegmentFileName::parse(name.substr(1, name.size() - 1 - kRandom));
  const bool exists =
      copied &&
      std::any_of(listing.segments.begin(), listing.segments.end(), [&](const SegmentEntry& entry) {
        return entry.name.segment == copied->segment && (copied->partial || !entry.name.partial);
      });
  return exists ? std::nullopt : copied;
}

}  // namespace weir::archive
