#include "web/guide.h"

#include <fmt/format.h>

#include <vector>

#include "base/text.h"
#include "web/assets.h"
#include "web/html.h"

namespace weir::web {

namespace {

/// Where a link of a file in docs/ leads: a place of the same page, or of another guide; "" for
/// what is not here. "ha.md#slots" is "ha#slots".
std::string place_of(std::string_view target) {
  constexpr std::string_view kEnd = ".md";
  if (target.starts_with('#')) return std::string(target);
  const auto dot = target.find(kEnd);
  if (dot == std::string_view::npos) return {};
  const auto page = target.substr(0, dot);
  const auto anchor = target.substr(dot + kEnd.size());
  if (!anchor.empty() && anchor.front() != '#') return {};
  for (const auto& guide : guides())
    if (guide.page == page) return std::string(page) + std::string(anchor);
  return {};
}

/// `code`, **bold**, [text](link).
std::string inline_html(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto next = text.find_first_of("`*[");
    out += escaped(text.substr(0, next));
    if (next == std::string_view::npos) break;
    text.remove_prefix(next);
    if (text.front() == '`') {
      if (const auto end = text.find('`', 1); end != std::string_view::npos) {
        out += fmt::format("<code>{}</code>", escaped(text.substr(1, end - 1)));
        text.remove_prefix(end + 1);
        continue;
      }
    } else if (text.starts_with("**")) {
      if (const auto end = text.find("**", 2); end != std::string_view::npos) {
        out += fmt::format("<strong>{}</strong>", inline_html(text.substr(2, end - 2)));
        text.remove_prefix(end + 2);
        continue;
      }
    } else if (text.front() == '[') {
      const auto middle = text.find("](");
      const auto end = middle == std::string_view::npos ? middle : text.find(')', middle);
      if (end != std::string_view::npos) {
        const auto words = inline_html(text.substr(1, middle - 1));
        const auto place = place_of(text.substr(middle + 2, end - middle - 2));
        out += place.empty() ? words : fmt::format("<a href=\"{}\">{}</a>", escaped(place), words);
        text.remove_prefix(end + 1);
        continue;
      }
    }
    out += escaped(text.substr(0, 1));
    text.remove_prefix(1);
  }
  return out;
}

/// "| a | b |": a pipe in `code`, or behind a backslash, divides nothing.
std::vector<std::string> cells_of(std::string_view line) {
  std::vector<std::string> cells;
  std::string cell;
  bool code = false;
  line = trimmed(line);
  line.remove_prefix(1);
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (line[i] == '\\' && i + 1 < line.size() && line[i + 1] == '|') {
      cell += line[++i];
      continue;
    }
    if (line[i] == '`') code = !code;
    if (line[i] == '|' && !code) {
      cells.emplace_back(trimmed(cell));
      cell.clear();
    } else {
      cell += line[i];
    }
  }
  return cells;
}

class Writer {
 public:
  void line(std::string_view text) {
    constexpr std::string_view kIndent = "    ";
    const auto bare = trimmed(text);
    if (bare.starts_with("```")) {
      end_block();
      code_ = !code_;
      html_ += code_ ? "<pre>" : "</pre>\n";
    } else if (code_) {
      html_ += escaped(text) + "\n";
    } else if (block_ == Block::code && bare.empty()) {
      blank_ += "\n";
    } else if (text.starts_with(kIndent) && !bare.empty() &&
               (block_ == Block::none || block_ == Block::code)) {
      html_ += block_ == Block::none ? "<pre>" : blank_;
      html_ += escaped(text.substr(kIndent.size())) + "\n";
      blank_.clear();
      block_ = Block::code;
    } else if (bare.empty()) {
      end_block();
    } else if (bare.starts_with('#')) {
      heading(bare);
    } else if (bare.starts_with('|')) {
      row(bare);
    } else if (bare.starts_with("- ")) {
      if (block_ != Block::list) {
        end_block();
        html_ += "<ul>\n";
        block_ = Block::list;
      }
      end_text();
      html_ += "<li>";
      text_ = bare.substr(2);
    } else {
      if (block_ == Block::none) {
        html_ += "<p>";
        block_ = Block::paragraph;
      } else if (block_ == Block::table || block_ == Block::code) {
        end_block();
        html_ += "<p>";
        block_ = Block::paragraph;
      }
      text_ += text_.empty() ? "" : " ";
      text_ += bare;
    }
  }
  std::string finish() {
    end_block();
    return std::move(html_);
  }

 private:
  enum class Block { none, paragraph, list, table, code };

  void heading(std::string_view bare) {
    end_block();
    const auto level = bare.find_first_not_of('#');
    if (level == std::string_view::npos) return;
    const auto words = trimmed(bare.substr(level));
    html_ += fmt::format("<h{0} id=\"{1}\">{2}</h{0}>\n", level, chapter_anchor(words),
                         inline_html(words));
  }
  void row(std::string_view bare) {
    if (block_ != Block::table) {
      end_block();
      html_ += "<div class=\"scroll\"><table>\n";
      block_ = Block::table;
      head_ = true;
    }
    if (bare.find_first_not_of("|-: ") == std::string_view::npos) return;
    html_ += "<tr>";
    for (const auto& cell : cells_of(bare))
      html_ += fmt::format("<{0}>{1}</{0}>", head_ ? "th" : "td", inline_html(cell));
    html_ += "</tr>\n";
    head_ = false;
  }
  void end_text() {
    if (text_.empty()) return;
    html_ += inline_html(text_);
    html_ += block_ == Block::list ? "</li>\n" : "</p>\n";
    text_.clear();
  }
  void end_block() {
    end_text();
    if (block_ == Block::list) html_ += "</ul>\n";
    if (block_ == Block::table) html_ += "</table></div>\n";
    if (block_ == Block::code) html_ += "</pre>\n";
    blank_.clear();
    block_ = Block::none;
  }

  std::string html_;
  std::string text_;   ///< of the paragraph or item
  std::string blank_;  ///< lines between lines of code
  Block block_ = Block::none;
  bool head_ = false;
  bool code_ = false;
};

}  // namespace

std::span<const Guide> guides() {
  static const Guide all[] = {{"troubleshooting", "Troubleshooting", kTroubleshooting},
                              {"ha", "Failover", kFailoverGuide},
                              {"compare", "Comparison", kComparisonGuide}};
  return all;
}

std::string chapter_link(std::string_view page, std::string_view heading) {
  std::string_view title = page;
  for (const auto& guide : guides())
    if (guide.page == page) title = guide.title;
  return fmt::format("<a href=\"{}#{}\">{}: {}</a>", page, chapter_anchor(heading), title,
                     escaped(heading));
}

std::string chapter_anchor(std::string_view heading) {
  std::string anchor;
  for (const char c : heading) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
      anchor += upper ? static_cast<char>(c - 'A' + 'a') : c;
    else if (c == ' ' || c == '-')
      anchor += '-';
  }
  return anchor;
}

std::string guide_html(std::string_view markdown) {
  Writer writer;
  while (!markdown.empty()) {
    const auto end = markdown.find('\n');
    writer.line(markdown.substr(0, end));
    if (end == std::string_view::npos) break;
    markdown.remove_prefix(end + 1);
  }
  return writer.finish();
}

}  // namespace weir::web
