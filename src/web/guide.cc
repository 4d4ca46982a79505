#include "web/guide.h"

#include <fmt/format.h>

#include <vector>

#include "base/text.h"
#include "web/html.h"

namespace weir::web {

namespace {

/// `code`, **bold**, [text](link). A link leads to a place of the same page, or is text.
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
        const auto target = text.substr(middle + 2, end - middle - 2);
        out += target.starts_with('#')
                   ? fmt::format("<a href=\"{}\">{}</a>", escaped(target), words)
                   : words;
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
    const auto bare = trimmed(text);
    if (bare.starts_with("```")) {
      end_block();
      code_ = !code_;
      html_ += code_ ? "<pre>" : "</pre>\n";
    } else if (code_) {
      html_ += escaped(text) + "\n";
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
      } else if (block_ == Block::table) {
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
  enum class Block { none, paragraph, list, table };

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
    block_ = Block::none;
  }

  std::string html_;
  std::string text_;  ///< of the paragraph or item
  Block block_ = Block::none;
  bool head_ = false;
  bool code_ = false;
};

}  // namespace

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
