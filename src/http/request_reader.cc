#include "http/request_reader.h"

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <string>

namespace weir::http {

namespace {

namespace beast = boost::beast::http;

std::string text_of(boost::beast::string_view text) { return {text.data(), text.size()}; }

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

int status_of(const boost::system::error_code& code) {
  if (code == beast::error::body_limit) return 413;
  if (code == beast::error::header_limit) return 431;
  return 400;
}

}  // namespace

struct RequestReader::Impl {
  Impl() {
    parser.header_limit(kMostHead);
    parser.body_limit(kMostBody);
    parser.eager(true);
  }
  beast::request_parser<beast::string_body> parser;
  std::string pending{};  ///< input that the parser has not consumed
  Request request{};
  int status = 0;
};

RequestReader::RequestReader() : impl_(std::make_unique<Impl>()) {}
RequestReader::~RequestReader() = default;
RequestReader::RequestReader(RequestReader&&) noexcept = default;
RequestReader& RequestReader::operator=(RequestReader&&) noexcept = default;

RequestReader::State RequestReader::add(std::string_view bytes) {
  auto& [parser, pending, request, status] = *impl_;
  pending += bytes;
  boost::system::error_code code;
  while (!pending.empty() && !parser.is_done()) {
    const auto taken = parser.put(boost::asio::buffer(pending), code);
    pending.erase(0, taken);
    if (code == beast::error::need_more) {
      code = {};
      break;
    }
    if (code) break;
    if (taken == 0) break;
  }
  if (!code && !parser.is_done() && pending.size() > kMostHead) status = 431;
  if (code) status = status_of(code);
  if (status != 0) return State::refused;
  if (!parser.is_done()) return State::more;

  const auto& message = parser.get();
  request.method = text_of(message.method_string());
  const auto target = text_of(message.target());
  const auto question = std::min(target.find('?'), target.size());
  request.path = target.substr(0, question);
  if (question < target.size()) request.query = target.substr(question + 1);
  request.body = message.body();
  for (const auto& field : message)
    request.headers.emplace_back(lower(text_of(field.name_string())), text_of(field.value()));
  if (message.count(beast::field::host) > 1) {
    status = 400;
    return State::refused;
  }
  return State::done;
}

const Request& RequestReader::request() const { return impl_->request; }
int RequestReader::status() const { return impl_->status; }

}  // namespace weir::http
