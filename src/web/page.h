#pragma once

#include <string>
#include <string_view>

#include "web/facts.h"

namespace weir::web {

/// The page of one archive, worst first, words before drawings. Pure.
enum class Mode {
  live,    ///< with our script, which renews it, and links to the chapter on troubleshooting
  single,  ///< one file without scripts, for a ticket or a mail
};
[[nodiscard]] std::string page_html(const Facts& facts, Mode mode);

/// What of it changes: the content of <main>.
[[nodiscard]] std::string main_html(const Facts& facts, Mode mode);

/// A page that renews itself, around `main`, with `before` above it, which stays as it is; all are
/// taken as they are.
[[nodiscard]] std::string live_html(const std::string& title, const std::string& main,
                                    std::string_view before = {});

/// A page around `main`, of the same looks; `title` and `main` are taken as they are.
[[nodiscard]] std::string frame_html(const std::string& title, const std::string& main);

/// Title of the page, as text: "OK · orders · /srv/wal · pgweir".
[[nodiscard]] std::string title_of(const Facts& facts);

/// The form that asks for the token.
[[nodiscard]] std::string login_html(bool refused);

}  // namespace weir::web
