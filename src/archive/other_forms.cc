#include "archive/other_forms.h"

#include "archive/forms.h"
#include "archive/listing.h"

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

}  // namespace weir::archive
